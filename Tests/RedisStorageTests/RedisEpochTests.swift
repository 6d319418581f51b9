internal import EventLoop
internal import ProxyGPT
internal import TestSupport
internal import Testing

@testable internal import RedisStorage

/// A Redis that is not what it was: old ids lead to a new beginning, never to a silent hole.
@Suite struct RedisEpochTests {
    private let chat = Chat.ID("chat")

    /// Polls often, and has a time limit that a busy machine needs to begin.
    private var watchful: RedisBusLog.Tuning {
        RedisBusLog.Tuning(pollInterval: 20, awayDelay: 30_000, travel: 50)
    }

    /// Publishes a reply whose middle falls into what `change` does to Redis, and expects that readers
    /// start over, that old ids are refused, and that nothing of the rest looks like a whole.
    private func expectNewEpoch(
        options: [String] = [], _ change: (RedisServer) async throws -> Void
    ) async throws {
        let server = try await RedisServer(options)
        let peer = try await server.peer(log: watchful)
        let other = try await server.peer(log: watchful)
        let delivery = try await Delivery(peer.log)
        peer.bus.publishReply("before", words: 3)
        peer.bus.publish(beginning(of: "torn"))
        try await delivery.ends(["before"])
        await peer.bus.flush()
        let old = try await peer.log.head()
        try await change(server)
        try await peer.isReady()
        try await other.isReady()
        peer.bus.publish(delta("rest", of: "torn"))
        peer.bus.publish(end(of: "torn"))
        await peer.bus.flush()
        other.bus.publishReply("after", words: 3)
        await other.bus.flush()
        try await eventually { delivery.starts >= 1 }
        // A subscriber that starts over then reads the rest.
        let (head, frames) = try await whole(peer.log)
        #expect(head.epoch != old.epoch)
        #expect(frames.map(\.id.sequence) == Array(1...head.sequence))
        let ends = frames.filter(\.frame.isEnd).map(\.frame.messageID.text)
        #expect(ends == ["torn", "after"])
        #expect(joinedDeltas(frames, of: "torn") == "", "the rest alone is no prefix")
        #expect(joinedDeltas(frames, of: "after") == numbered(0..<3))
        #expect(delivery.newFrames.areInOrder)
        #expect(try await peer.log.frames(of: chat, after: old) == nil)
        #expect(try await other.log.frames(of: chat, after: old) == nil)
        await peer.close()
        await other.close()
    }

    /// All that a log that is there has of the chat.
    private func whole(
        _ log: RedisBusLog
    ) async throws -> (head: FrameID, frames: [LoggedFrame]) {
        var found: (FrameID, [LoggedFrame])?
        try await eventually {
            let head = try await log.head()
            let first = FrameID(epoch: head.epoch, sequence: 0)
            found = try await log.frames(of: chat, after: first).flatMap {
                $0.isEmpty ? nil : (head, $0)
            }
            return found != nil
        }
        return try #require(found)
    }

    @Test func `a wiped Redis begins a new epoch`() async throws {
        try await expectNewEpoch { try await $0.ask("FLUSHALL") }
    }

    @Test func `a Redis that was restarted without its data begins a new epoch`() async throws {
        try await expectNewEpoch { server in
            server.kill()
            try await server.start()
        }
    }

    @Test func `a Redis that was restarted from an old dump begins a new epoch`() async throws {
        try await expectNewEpoch { server in
            try await server.ask("SAVE")
            try await server.ask("HINCRBY", "test:bus", "seq", "1")
            server.kill()
            try await server.start()
        }
    }

    @Test func `a counter that was set back begins a new epoch`() async throws {
        try await expectNewEpoch { try await $0.ask("HSET", "test:bus", "seq", "0") }
    }

    @Test(arguments: [
        "9223372036854775807", "-5", "0x10", "1e3", "abc", "", " 5", "05", "nan", "1.0",
    ])
    func `a counter that nobody can go on from begins a new epoch`(count: String) async throws {
        try await expectNewEpoch { try await $0.ask("HSET", "test:bus", "seq", count) }
    }

    @Test(arguments: ["bus", "bus:recent"], [["SET", "x"], ["HSET", "a", "b"], ["RPUSH", "x"]])
    func `a key of another type begins a new epoch`(key: String, words: [String]) async throws {
        // The look makes a hash again where there is nothing.
        if key == "bus" && words[0] != "SET" { return }
        try await expectNewEpoch { server in
            let value = Array(words.dropFirst())
            if key != "bus" { try await server.ask("DEL", "test:" + key) }
            if value.count == 2 {
                try await server.ask(words[0], "test:" + key, value[0], value[1])
            } else {
                try await server.ask(words[0], "test:" + key, value[0])
            }
        }
    }

    @Test(arguments: ["frames", "running", "chat"])
    func `a chat's key of another type costs the readers of that chat a reset, and no more`(
        kind: String
    ) async throws {
        let server = try await RedisServer()
        let peer = try await server.peer(log: watchful)
        let delivery = try await Delivery(peer.log)
        peer.bus.publish(beginning(of: "m"))
        peer.bus.publish(beginning(of: "other", in: "other"))
        await peer.bus.flush()
        let old = try await peer.log.head()
        let key = "test:bus:\(old.epoch):\(kind):chat"
        func poison() async throws {
            try await server.ask("DEL", key)
            try await server.ask("SET", key, "x")
        }
        try await poison()
        // A process that only reads gets nothing wrong.
        if kind != "running" { #expect(try await peer.log.frames(of: chat, after: old) == nil) }
        if kind == "running" { #expect(try await peer.log.runningFrames(of: chat).frames.isEmpty) }
        peer.bus.publish(delta("1 ", of: "m"))
        peer.bus.publish(delta("1 ", of: "other", in: "other"))
        await peer.bus.flush()
        try await poison()
        for message in ["m", "other"] {
            peer.bus.publish(end(of: message, in: message == "m" ? "chat" : message))
        }
        try await delivery.ends(["m", "other"])
        #expect(delivery.text(of: "other") == "1 ")
        #expect(delivery.text(of: "m") == "", "what has lost its beginning is told by its end")
        #expect(delivery.starts == 0)
        #expect(try await peer.log.frames(of: chat, after: old) == nil)
        #expect(try await peer.log.frames(of: Chat.ID("other"), after: old)?.count == 2)
        await peer.close()
    }

    @Test(arguments: [
        ["epoch", "a b"], ["epoch", ""], ["at1", "x"], ["seq0", "x"], ["run", "x"],
    ])
    func `a field that nobody has written begins a new epoch, or is passed over`(
        field: [String]
    ) async throws {
        let server = try await RedisServer()
        let peer = try await server.peer(log: watchful)
        let delivery = try await Delivery(peer.log)
        try await server.ask("HSET", "test:bus", field[0], field[1])
        // Those that come just when readers start over are history to them.
        try await eventually {
            peer.bus.publish(end(of: ids.next()))
            await peer.bus.flush()
            return !delivery.frames.isEmpty
        }
        #expect(await peer.client.isReady)
        await peer.close()
    }

    @Test func `a log notices a counter that went back also without publications`()
        async throws
    {
        let server = try await RedisServer()
        let peer = try await server.peer(log: watchful)
        let delivery = try await Delivery(peer.log)
        peer.bus.publishReply("m", words: 3)
        try await delivery.ends(["m"])
        try await server.ask("HSET", "test:bus", "seq", "0")
        try await eventually { delivery.starts >= 1 }
        await peer.close()
    }

    @Test(arguments: [true, false])
    func `a counter that went back and was overtaken since begins a new epoch`(
        forgetsRecent: Bool
    ) async throws {
        let server = try await RedisServer()
        let reader = try await server.peer(
            log: RedisBusLog.Tuning(pollInterval: 1_000_000, awayDelay: 10_000, travel: 50))
        let delivery = try await Delivery(reader.log)
        let writer = try await server.peer()
        for index in 0..<5 {
            writer.bus.publish(end(of: "m\(index)"))
            await writer.bus.flush()
        }
        try await delivery.ends(["m4"])
        let old = try await reader.log.head()
        // By a process that has not seen the higher numbers.
        try await server.ask("HSET", "test:bus", "seq", "2")
        try await server.ask("DEL", "test:bus:\(old.epoch):frames:chat")
        if forgetsRecent { try await server.ask("DEL", "test:bus:recent") }
        let stranger = try await server.peer()
        for index in 0..<20 {
            stranger.bus.publish(end(of: "n\(index)"))
            await stranger.bus.flush()
        }
        try await eventually { delivery.starts >= 1 }
        #expect(try await reader.log.frames(of: chat, after: old) == nil)
        for peer in [reader, writer, stranger] { await peer.close() }
    }

    // MARK: - Away

    @Test
    func `while Redis is away subscribers are referred to the store, and start over after it`()
        async throws
    {
        let server = try await RedisServer()
        let peer = try await server.peer(log: watchful)
        let delivery = try await Delivery(peer.log)
        peer.bus.publish(beginning(of: "m"))
        await peer.bus.flush()
        let old = try await peer.log.head()
        server.kill()
        try await eventually { delivery.starts >= 1 }
        #expect(try await peer.log.frames(of: chat, after: old) == nil)
        let running = try await peer.log.runningFrames(of: chat)
        #expect(running.frames.isEmpty && running.head.epoch != old.epoch)
        #expect(try await peer.log.head() == running.head)
        peer.bus.publish(delta("dropped", of: "m"))
        peer.bus.publish(end(of: "m"))
        try await server.start()
        try await eventually { delivery.starts >= 2 }
        let (_, frames) = try await whole(peer.log)
        #expect(frames.map(\.frame) == [end(of: "m")], "the end has waited for Redis")
        await peer.close()
    }

    @Test func `without Redis at the start a log begins all the same`() async throws {
        let server = try await RedisServer()
        server.kill()
        let peer = try await server.peer(log: watchful)
        let head = try await peer.log.head()
        #expect(head.sequence == 0)
        let delivery = try await Delivery(peer.log)
        #expect(try await peer.log.runningFrames(of: chat).frames.isEmpty)
        #expect(try await peer.log.frames(of: chat, after: head) == nil)
        try await server.start()
        try await eventually { delivery.starts >= 1 }
        peer.bus.publishReply("m", words: 2)
        try await delivery.ends(["m"])
        #expect(delivery.text(of: "m") == numbered(0..<2))
        await peer.close()
    }
}
