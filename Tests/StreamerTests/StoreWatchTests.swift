import EventLoop
import Logging
import ProxyGPT
import Synchronization
import Testing

@testable import Streamer

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
        store.put(message("m2", .streaming))
        await watch.look()
        #expect(found() == [])
        log.change { $0.isAway = true }
        await watch.look()
        #expect(found() == ["m1"], "whoever saw it running hears of it")
        await watch.look()
        #expect(found() == [])
        store.put(message("m2", .done, reply: "b"))
        store.put(message("m3", .done, reply: "c"))
        await watch.look()
        #expect(found().sorted() == ["m2 new", "m3 new"])
        log.change { $0.isAway = false }
        store.put(message("m4", .done, reply: "d"))
        await watch.look()
        #expect(found() == [])
    }
}
