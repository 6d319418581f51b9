internal import EventLoop
internal import ProxyGPT
internal import TestSupport
internal import Testing

@testable internal import RedisStorage

/// What a reader learns: live and of the past.
@Suite struct RedisBusLogTests {
    private let chat = Chat.ID("chat")

    @Test
    func
        `a log that starts in the middle delivers exactly the frames that are published afterwards`()
        async throws
    {
        let server = try await RedisServer()
        let peer = try await server.peer()
        peer.bus.publish(delta("before", of: "m", prompt: "p"))
        await peer.bus.flush()
        let delivery = try await Delivery(peer.log)
        peer.bus.publish(delta("after", of: "m"))
        peer.bus.publish(end(of: "m"))
        try await delivery.ends(["m"])
        #expect(delivery.frames.map(\.frame) == [delta("after", of: "m"), end(of: "m")])
        await peer.close()
    }

    @Test func `nothing is delivered after the stop, and a second start goes on`() async throws {
        let server = try await RedisServer()
        let peer = try await server.peer()
        let delivery = try await Delivery(peer.log)
        await peer.log.stop()
        peer.bus.publishReply("m", words: 1)
        await peer.bus.flush()
        let second = try await Delivery(peer.log)
        peer.bus.publish(end(of: "n"))
        try await second.ends(["n"])
        #expect(delivery.frames.isEmpty)
        #expect(second.frames.map(\.frame) == [end(of: "n")])
        #expect(second.starts == 0)
        await peer.close()
    }

    @Test func `history is that of one chat, after one frame, and of one epoch`() async throws {
        let server = try await RedisServer()
        let peer = try await server.peer()
        for index in 0..<6 {
            peer.bus.publish(beginning(of: "m\(index)", in: index % 2 == 0 ? "chat" : "other"))
            await peer.bus.flush()
        }
        let head = try await peer.log.head()
        func history(_ sequence: Int64, epoch: String? = nil) async throws -> [Int64]? {
            let id = FrameID(epoch: epoch ?? head.epoch, sequence: sequence)
            return try await peer.log.frames(of: chat, after: id)?.map(\.id.sequence)
        }
        #expect(try await history(0) == [1, 3, 5])
        #expect(try await history(1) == [3, 5])
        #expect(try await history(2) == [3, 5])
        #expect(try await history(6) == [])
        #expect(try await history(7) == nil, "above the head")
        #expect(try await history(Int64.max) == nil)
        #expect(try await history(3, epoch: "other") == nil)
        let quiet = FrameID(epoch: head.epoch, sequence: 4)
        #expect(try await peer.log.frames(of: Chat.ID("quiet"), after: quiet) == [])
        await peer.close()
    }

    @Test func `history is read page by page`() async throws {
        let server = try await RedisServer()
        let peer = try await server.peer()
        for index in 0..<500 { peer.bus.publish(end(of: "m\(index)")) }
        await peer.bus.flush()
        let head = try await peer.log.head()
        let first = FrameID(epoch: head.epoch, sequence: 0)
        let frames = try #require(try await peer.log.frames(of: chat, after: first))
        #expect(frames.map(\.id.sequence) == Array(1...500))
        await peer.close()
    }

    @Test func `running frames are those of messages without an end, from their beginning`()
        async throws
    {
        let server = try await RedisServer()
        let peer = try await server.peer()
        for text in ["a", "b"] {
            for message in ["done", "one", "two"] {
                peer.bus.publish(delta(text, of: message, prompt: text == "a" ? message : nil))
            }
            peer.bus.publish(delta(text, of: "elsewhere", in: "other", prompt: "p"))
            await peer.bus.flush()
        }
        peer.bus.publish(end(of: "done"))
        await peer.bus.flush()
        let running = try await peer.log.runningFrames(of: chat)
        #expect(
            running.frames.map(\.frame) == [
                delta("a", of: "one", prompt: "one"), delta("a", of: "two", prompt: "two"),
                delta("b", of: "one"), delta("b", of: "two"),
            ])
        #expect(running.frames.areInOrder)
        #expect(try await running.head == peer.log.head())
        await peer.close()
    }

    @Test func `registering first and reading history then leaves neither hole nor repetition`()
        async throws
    {
        let server = try await RedisServer()
        let peers = [try await server.peer(), try await server.peer(), try await server.peer()]
        let (seen, delivery) = try await resumeAgainAndAgain(
            peers[2].log, while: peers[..<2].map(\.bus))
        #expect(seen.areInOrder)
        for parity in 0..<2 {
            let whole = stride(from: parity, to: 400, by: 2).map { "\($0) " }.joined()
            #expect(joinedDeltas(seen, of: "m\(parity)") == whole)
        }
        #expect(delivery.starts == 0)
        for peer in peers { await peer.close() }
    }

    // MARK: - Missed publications

    /// Looks often, so that the test need not wait.
    private var watchful: RedisBusLog.Tuning {
        RedisBusLog.Tuning(pollInterval: 20, awayDelay: 10_000, travel: 50)
    }

    /// Ends the connections that listen, as a firewall would.
    private func breakSubscriptions(_ server: RedisServer) async throws {
        try await server.ask("CLIENT", "KILL", "TYPE", "pubsub")
    }

    @Test func `frames that were published while the subscription was broken are filled in`()
        async throws
    {
        let server = try await RedisServer()
        let peer = try await server.peer(log: watchful)
        let delivery = try await Delivery(peer.log)
        for round in 0..<10 {
            peer.bus.publish(beginning(of: "m\(round)"))
            await peer.bus.flush()
            try await breakSubscriptions(server)
            for index in 0..<5 {
                peer.bus.publish(delta("\(index) ", of: "m\(round)"))
                await peer.bus.flush()
            }
            peer.bus.publish(end(of: "m\(round)"))
        }
        let messages = (0..<10).map { "m\($0)" }
        try await delivery.ends(messages)
        for message in messages { #expect(delivery.text(of: message) == numbered(0..<5)) }
        #expect(delivery.frames.areInOrder)
        #expect(delivery.starts == 0)
        await peer.close()
    }

    @Test func `a subscription that hears nothing is noticed by the numbers and made anew`()
        async throws
    {
        let server = try await RedisServer()
        let peer = try await server.peer(log: watchful)
        let delivery = try await Delivery(peer.log)
        // Frames that are in the log and were never published.
        let id = try await peer.log.head()
        let deaf = try await server.client()
        var place = BusPlace(prefix: "test:", database: 0, seal: testSeal)
        let heard = place.keys
        place = BusPlace(prefix: "test:", database: 7, seal: testSeal)
        let frame = end(of: "unheard")
        let opening = await place.opening(run: deaf.runID ?? "", known: id, ids)
        let reply = try await deaf.run(
            .append, keys: heard,
            opening + [
                Array(place.channel.utf8), Array("100".utf8), Array("chat".utf8),
                Array("unheard".utf8), [frame.kind], frame.encoded,
            ])
        #expect(LogState(reply)?.head.sequence == 1)
        try await delivery.ends(["unheard"])
        peer.bus.publish(end(of: "m"))
        try await delivery.ends(["m"])
        #expect(delivery.frames.areInOrder && delivery.starts == 0)
        await deaf.stop()
        await peer.close()
    }

    @Test func `a gap that Redis has forgotten makes every subscriber start over`() async throws {
        let server = try await RedisServer()
        let peer = try await server.peer(
            log: RedisBusLog.Tuning(pollInterval: 1_000_000, awayDelay: 10_000, travel: 50))
        let other = try await server.peer()
        let delivery = try await Delivery(peer.log)
        peer.bus.publishReply("m", words: 1)
        try await delivery.ends(["m"])
        // The one log's subscription is broken while frames come whose batches are forgotten.
        let state = try await server.ask("HGET", "test:bus", "seq")
        try await server.ask("HSET", "test:bus", "seq", "\((state.number ?? 0) + 5)")
        try await server.ask("DEL", "test:bus:recent")
        other.bus.publish(end(of: "n"))
        try await eventually { delivery.starts >= 1 }
        other.bus.publish(end(of: "o"))
        try await delivery.ends(["o"])
        #expect(delivery.newFrames.map(\.frame).last == end(of: "o"))
        await peer.close()
        await other.close()
    }
}
