import EventLoop
import Logging
import ProxyGPT
import Synchronization
import Testing

@testable import Streaming

@Suite struct StoreWatchTests {
    @Test("While the log is away, and only then, messages that end are found in the store")
    func findsEnds() async throws {
        EventLoop.startOnOwnThread()
        let (log, store, watched) = (MemoryLog(), MemoryMessages(), WatchedChats())
        watched.insert(chat)
        let told = Mutex<[(id: String, isNew: Bool)]>([])
        let watch = StoreWatch(
            log: log, store: store, watched: watched, logger: Logger(label: "test")
        ) { ended, areNew in
            told.withLock { $0 += ended.map { ($0.id.text, areNew) } }
        }
        func found() -> [String] {
            told.withLock { told in
                defer { told = [] }
                return told.map { $0.id + ($0.isNew ? " new" : "") }
            }
        }
        store.put(message("m1", .done, reply: "a"))
        store.put(message("m2", .streaming, seq: 2))
        await watch.poll()
        #expect(found() == [])
        log.change { $0.isAway = true }
        await watch.poll()
        #expect(found() == ["m1"], "whoever saw it running hears of it")
        await watch.poll()
        #expect(found() == [])
        store.put(message("m2", .done, reply: "b", seq: 2))
        store.put(message("m3", .done, reply: "c", seq: 3))
        await watch.poll()
        #expect(found() == ["m2 new", "m3 new"])
        // However many end between two polls, and however many come after one that runs.
        store.put(message("slow", .pending, seq: 4))
        await watch.poll()
        for number in 5..<200 { store.put(message("n\(number)", .done, seq: Int64(number))) }
        await watch.poll()
        #expect(found() == (5..<200).map { "n\($0) new" })
        store.put(message("slow", .done, seq: 4))
        await watch.poll()
        #expect(found() == ["slow new"])
        // The store may be away for a moment.
        store.put(message("last", .done, seq: 200))
        store.isAway = true
        await watch.poll()
        store.isAway = false
        #expect(found() == [])
        await watch.poll()
        #expect(found() == ["last new"])
        log.change { $0.isAway = false }
        store.put(message("m4", .done, reply: "d", seq: 201))
        await watch.poll()
        #expect(found() == [])
    }

    @Test("What ends between a history and a look that overtakes it is news")
    func overtaken() async {
        let ended = EndedMessages()
        let (old, new) = (message("m1", .done, seq: 1), message("m2", .done, seq: 2))
        // The look reads last and takes note first.
        await ended.update(chat, to: EndedMessages.Reading([old, new]))
        await ended.begin(chat, with: [old])
        #expect(await ended.reading(of: chat)?.isNews(new) == true)
        #expect(await ended.reading(of: chat)?.isNews(old) == false)
        let running = message("m1", .streaming, seq: 1)
        await ended.update(chat, to: EndedMessages.Reading([old, new]))
        await ended.begin(chat, with: [running])
        #expect(await ended.reading(of: chat)?.isNews(old) == true)
        await ended.keep([])
        await ended.begin(chat, with: [running])
        #expect(await ended.reading(of: chat) == EndedMessages.Reading([running]))
    }
}
