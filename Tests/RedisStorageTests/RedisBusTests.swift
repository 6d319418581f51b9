internal import EventLoop
internal import ProxyGPT
internal import Synchronization
internal import TestSupport
internal import Testing

@testable internal import RedisStorage

/// Published frames arrive: from many writers, in order, whole.
@Suite struct RedisBusTests {
    private let chat = Chat.ID("chat")

    @Test func `frames arrive with everything that was in them`() async throws {
        let server = try await RedisServer()
        let peer = try await server.peer()
        let delivery = try await Delivery(peer.log)
        peer.bus.publish(delta("Hé\u{0}llo", of: "m", prompt: "tell me"))
        await peer.bus.flush()
        peer.bus.publish(delta(" there", of: "m"))
        peer.bus.publish(end(of: "m"))
        try await delivery.ends(["m"])
        #expect(
            delivery.frames.map(\.frame) == [
                delta("Hé\u{0}llo", of: "m", prompt: "tell me"), delta(" there", of: "m"),
                end(of: "m"),
            ])
        #expect(delivery.frames.map(\.id.sequence) == [1, 2, 3])
        #expect(delivery.starts == 0)
        #expect(try await peer.log.head() == delivery.frames.last?.id)
        await peer.close()
    }

    @Test func `writers of several processes lose nothing, and all readers see one order`()
        async throws
    {
        let server = try await RedisServer()
        var peers: [Peer] = []
        for _ in 0..<4 { peers.append(try await server.peer()) }
        let deliveries = [try await Delivery(peers[0].log), try await Delivery(peers[1].log)]
        await withTaskGroup { group in
            for index in 0..<16 {
                group.addTask { [peers] in
                    for round in 0..<5 {
                        peers[index % 4].bus.publishReply(
                            "m\(index)-\(round)", in: "chat\(index % 3)", words: 100)
                        await EventLoop.sleep(milliseconds: 1)
                    }
                }
            }
        }
        let messages = (0..<16).flatMap { index in (0..<5).map { "m\(index)-\($0)" } }
        for delivery in deliveries {
            try await delivery.ends(messages)
            for message in messages { #expect(delivery.text(of: message) == numbered(0..<100)) }
            #expect(delivery.frames.areInOrder)
            #expect(delivery.frames.count(where: \.frame.isEnd) == messages.count)
            #expect(delivery.frames.count < 16 * 5 * 20, "words of a group are merged")
            #expect(delivery.starts == 0)
        }
        #expect(deliveries[0].frames == deliveries[1].frames)
        for peer in peers { await peer.close() }
    }

    @Test func `a frame after a message's end is skipped, and so is a second end`()
        async throws
    {
        let server = try await RedisServer()
        let peer = try await server.peer()
        let delivery = try await Delivery(peer.log)
        peer.bus.publishReply("m", words: 3)
        await peer.bus.flush()
        peer.bus.publish(delta("late", of: "m"))
        peer.bus.publish(beginning(of: "m"))
        peer.bus.publish(end(of: "m"))
        peer.bus.publish(end(of: "n"))
        try await delivery.ends(["n"])
        #expect(delivery.frames.count(where: \.frame.isEnd) == 2)
        #expect(delivery.text(of: "m") == numbered(0..<3))
        await peer.close()
    }

    @Test func `deltas whose beginning is not in the log are skipped, their end is not`()
        async throws
    {
        let server = try await RedisServer()
        let peer = try await server.peer()
        let delivery = try await Delivery(peer.log)
        peer.bus.publish(delta("rest", of: "m"))
        await peer.bus.flush()
        peer.bus.publish(end(of: "m"))
        try await delivery.ends(["m"])
        #expect(delivery.frames.map(\.frame) == [end(of: "m")])
        await peer.close()
    }

    @Test func `a full queue drops deltas, the rest of their message with them, and no end`()
        async throws
    {
        let server = try await RedisServer()
        let peer = try await server.peer(bounds: FrameQueue.Bounds(frames: 200, bytes: 1 << 20))
        let delivery = try await Delivery(peer.log)
        server.pause()
        // More than Redis is sent at a time: it stays in the queue.
        peer.bus.publishReply("first", words: 80)
        await EventLoop.spawn {}.value
        for index in 0..<300 { peer.bus.publish(delta("\(index) ", of: "a", prompt: "p")) }
        peer.bus.publish(delta("dropped", of: "b", prompt: "p"))
        server.resume()
        await peer.bus.flush()
        peer.bus.publish(delta("late", of: "a"))
        for message in ["a", "b"] { peer.bus.publish(end(of: message)) }
        peer.bus.publishReply("c", words: 1)
        try await delivery.ends(["first", "a", "b", "c"])
        let kept = delivery.text(of: "a")
        #expect(!kept.isEmpty && numbered(0..<300).hasPrefix(kept) && kept != numbered(0..<300))
        #expect(delivery.text(of: "b") == "")
        #expect(delivery.text(of: "c") == "0 ")
        await peer.close()
    }

    @Test func `two databases of one Redis are two logs`() async throws {
        let server = try await RedisServer()
        let one = try await server.peer(database: 0)
        let two = try await server.peer(database: 3)
        let deliveries = [try await Delivery(one.log), try await Delivery(two.log)]
        one.bus.publishReply("m", words: 1)
        two.bus.publishReply("n", words: 1)
        try await deliveries[0].ends(["m"])
        try await deliveries[1].ends(["n"])
        #expect(deliveries[0].text(of: "n") == "" && deliveries[1].text(of: "m") == "")
        #expect(deliveries.allSatisfy { $0.starts == 0 })
        await one.close()
        await two.close()
    }

    @Test func `a Redis that has forgotten the scripts gets them again`() async throws {
        let server = try await RedisServer()
        let peer = try await server.peer()
        let delivery = try await Delivery(peer.log)
        try await server.ask("SCRIPT", "FLUSH")
        peer.bus.publishReply("m", words: 5)
        try await delivery.ends(["m"])
        #expect(delivery.text(of: "m") == numbered(0..<5))
        await peer.close()
    }

    // MARK: - Trimming

    @Test
    func `a chat keeps a limited number of frames, and resets a subscriber that lacks older ones`()
        async throws
    {
        let server = try await RedisServer(["--stream-node-max-entries", "10"])
        let peer = try await server.peer(frameLimit: 50)
        peer.bus.publish(beginning(of: "long"))
        await peer.bus.flush()
        for index in 0..<200 {
            peer.bus.publish(delta("\(index)", of: "long"))
            await peer.bus.flush()
        }
        let head = try await peer.log.head()
        func history(_ sequence: Int64) async throws -> [LoggedFrame]? {
            try await peer.log.frames(
                of: chat, after: FrameID(epoch: head.epoch, sequence: sequence))
        }
        #expect(head.sequence == 201)
        #expect(try await history(0) == nil)
        #expect(try await history(100) == nil)
        #expect(try await history(190)?.map(\.id.sequence) == Array(191...201))
        let length = try await server.ask("XLEN", "test:bus:\(head.epoch):frames:chat").number
        #expect((50...60).contains(length ?? 0))
        let running = try await peer.log.runningFrames(of: chat)
        #expect(running.frames.isEmpty, "a message without its beginning is not told")
        await peer.close()
    }

    @Test func `frames stay for ten minutes after the last message's end, and longer before`()
        async throws
    {
        let server = try await RedisServer()
        let peer = try await server.peer()
        peer.bus.publish(beginning(of: "m"))
        await peer.bus.flush()
        let key = try await "test:bus:\(peer.log.head().epoch):frames:chat"
        let before = try #require(try await server.ask("TTL", key).number)
        #expect(before > 3000 && before <= 3600)
        peer.bus.publish(end(of: "m"))
        await peer.bus.flush()
        let after = try #require(try await server.ask("TTL", key).number)
        #expect(after > 500 && after <= 600)
        await peer.close()
    }

    @Test func `expired frames are a reset for a subscriber that lacks them, and for no other`()
        async throws
    {
        let server = try await RedisServer()
        let peer = try await server.peer()
        peer.bus.publishReply("m", words: 3)
        await peer.bus.flush()
        let head = try await peer.log.head()
        try await server.ask("DEL", "test:bus:\(head.epoch):frames:chat")
        func history(_ sequence: Int64) async throws -> [LoggedFrame]? {
            try await peer.log.frames(
                of: chat, after: FrameID(epoch: head.epoch, sequence: sequence))
        }
        #expect(try await history(head.sequence) == [])
        #expect(try await history(head.sequence - 1) == nil)
        peer.bus.publishReply("n", words: 1)
        await peer.bus.flush()
        #expect(try await history(head.sequence - 1) == nil)
        let frames = try #require(try await history(head.sequence))
        #expect(joinedDeltas(frames, of: "n") == "0 " && frames.last?.frame == end(of: "n"))
        await peer.close()
    }
}
