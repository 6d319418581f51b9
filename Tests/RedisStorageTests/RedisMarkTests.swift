internal import EventLoop
internal import ProxyGPT
internal import TestSupport
internal import Testing

@testable internal import RedisStorage

/// How far the store has come, as the log knows it, and ends that Redis has not taken.
@Suite struct RedisMarkTests {
    private let chat = Chat.ID("chat")

    @Test func `the log knows the largest count of its epoch`() async throws {
        let server = try await RedisServer()
        let peer = try await server.peer()
        try await peer.isReady()
        let first = try #require(await peer.bus.mark())
        #expect(first.storeCount == 0)
        for count: Int64 in [7, 5] { await peer.bus.keep(storeCount: count, in: first.epoch) }
        #expect(await peer.bus.mark() == LogMark(epoch: first.epoch, storeCount: 7))
        await peer.bus.keep(storeCount: 9, in: "other")
        #expect(await peer.bus.mark()?.storeCount == 7)
        for value in ["x", "-1", "99999999999999999999"] {
            try await server.ask("HSET", "test:bus", "store", value)
            #expect(await peer.bus.mark() == LogMark(epoch: first.epoch, storeCount: 0))
        }
        await peer.close()
        #expect(await peer.bus.mark() == nil)
    }

    @Test func `a log that is to begin anew does so once, and old ids lead to a reset`()
        async throws
    {
        let server = try await RedisServer()
        let (peer, other) = (try await server.peer(), try await server.peer())
        for peer in [peer, other] { try await peer.isReady() }
        let delivery = try await Delivery(peer.log)
        peer.bus.publishReply("m", words: 3)
        try await delivery.ends(["m"])
        let old = try await peer.log.head()
        await peer.bus.keep(storeCount: 7, in: old.epoch)
        #expect(await peer.bus.beginAnew(after: old.epoch))
        #expect(await other.bus.beginAnew(after: old.epoch), "others have done it")
        try await eventually { delivery.starts == 1 }
        let head = try await peer.log.head()
        #expect(head.epoch != old.epoch)
        #expect(try await peer.log.frames(of: chat, after: old) == nil)
        #expect(await other.bus.mark() == LogMark(epoch: head.epoch, storeCount: 0))
        for peer in [peer, other] { await peer.close() }
        #expect(await !peer.bus.beginAnew(after: head.epoch))
    }

    @Test func `ends that Redis does not take are overdue, and those that it takes are none`()
        async throws
    {
        let server = try await RedisServer()
        let peer = try await server.peer()
        try await peer.isReady()
        peer.bus.publish(end(of: "carried"))
        await peer.bus.flush()
        #expect(!peer.bus.isPending(Message.ID("carried")))
        server.kill()
        try await peer.isReady(false)
        peer.bus.publish(delta("a", of: "m", prompt: "p"))
        peer.bus.publish(end(of: "m"))
        #expect(peer.bus.takeOverdueEnds(after: 60_000) == [])
        #expect(peer.bus.takeOverdueEnds(after: 0) == [Message.ID("m")])
        #expect(peer.bus.takeOverdueEnds(after: 0) == [])
        peer.bus.putBack(overdue: [Message.ID("m")])
        #expect(peer.bus.takeOverdueEnds(after: 0) == [Message.ID("m")])
        #expect(peer.bus.isPending(Message.ID("m")))
        try await server.start()
        try await eventually { !peer.bus.isPending(Message.ID("m")) }
        await peer.close()
        peer.bus.publish(end(of: "late"))
        #expect(peer.bus.takeOverdueEnds(after: 60_000) == [Message.ID("late")])
    }
}
