import EventLoop
import Logging
import ProxyGPT
import Synchronization
import Testing

@testable import Streaming

@Suite(.timeLimit(.minutes(5))) struct LiveReaderTests {
    @Test("Frames of watched chats come complete and in order, the others as a place in the log")
    func resolves() async throws {
        EventLoop.startOnOwnThread()
        let (log, store, watched) = (MemoryLog(), MemoryMessages(), WatchedChats())
        watched.insert(chat)
        let (batches, continuation) = AsyncStream.makeStream(of: LiveBatch.self)
        let reader = LiveReader(
            log: log, resolver: FrameResolver(store: store), watched: watched,
            logger: Logger(label: "test")
        ) { continuation.yield($0) }
        try await reader.start()
        store.put(message("m1", .done, reply: "ab"))
        log.publish("m1", .delta("ab", prompt: "p"))
        log.publish("m9", .delta("x", prompt: "p"), in: Chat.ID("chat-2"))
        log.publish("m1", .ended)
        var seen: [FrameID] = []
        var last: FrameID?
        var iterator = batches.makeAsyncIterator()
        while last != id(3), let batch = await iterator.next() {
            seen += batch.frames.map(\.id)
            last = batch.last ?? last
        }
        #expect(seen == [id(1), id(3)])
        log.beginAnew("e2")
        let next = await iterator.next()
        #expect(next?.startsOver == true)
        await reader.stop()
    }

    @Test("A chat of which a frame cannot be completed is broken, and no later frame of it is told")
    func breaks() async throws {
        EventLoop.startOnOwnThread()
        let (log, store, watched) = (MemoryLog(), MemoryMessages(), WatchedChats())
        let other = Chat.ID("chat-2")
        watched.insert(chat)
        watched.insert(other)
        let (batches, continuation) = AsyncStream.makeStream(of: LiveBatch.self)
        let reader = LiveReader(
            log: log, resolver: FrameResolver(store: store), watched: watched,
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        ) { continuation.yield($0) }
        try await reader.start()
        store.put(message("m2", in: other))
        store.isAway = true
        log.publish([
            logged(1, "m0", .delta("a", prompt: "p")), logged(2, "m1", .ended),
            logged(3, "m0", .delta("b", prompt: nil)),
            logged(4, "m3", .delta("c", prompt: "p"), in: other),
        ])
        for await batch in batches where batch.last == id(4) {
            #expect(batch.broken == [chat])
            #expect(batch.frames.map(\.id) == [id(1), id(4)])
            break
        }
        await reader.stop()
    }
}
