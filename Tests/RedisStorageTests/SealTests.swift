internal import EventLoop
internal import ProxyGPT
internal import TestSupport
internal import Testing

@testable internal import RedisStorage

/// What others write into the same Redis is not there.
@Suite struct SealTests {
    private let chat = Chat.ID("chat")

    private func window(_ version: Int64) -> ContextWindow {
        let now = Timestamp(milliseconds: 0)
        let message = Message(
            id: Message.ID("m"), chatID: chat, userID: User.ID("u"), groupID: nil, seq: 1,
            prompt: "prompt", reply: "reply", model: "m", state: .done, createdAt: now,
            updatedAt: now)
        return ContextWindow(
            version: version, newestFirst: [message], limit: 1, budget: 100_000_000)
    }

    @Test func `only an entry that is whole, of this key and of this place opens`() {
        let seal = Seal(testKeys.frames)
        let content = Array("content".utf8)
        let closed = seal.closed(content, for: "place")
        #expect(closed.count == content.count + Seal.size)
        #expect(seal.opened(closed[...], for: "place") == content)
        for other in [Seal(testKeys.windows), Seal(keys(secret: 8).frames)] {
            #expect(other.opened(closed[...], for: "place") == nil)
        }
        for place in ["", "plac", "placec", "other"] {
            #expect(seal.opened(closed[...], for: place) == nil)
        }
        for index in closed.indices {
            var changed = closed
            changed[index] ^= 1
            #expect(seal.opened(changed[...], for: "place") == nil)
        }
        for length in 0..<closed.count {
            #expect(seal.opened(closed[..<length], for: "place") == nil)
        }
        // The end of a place is no beginning of a content.
        #expect(seal.opened(seal.closed(Array("bc".utf8), for: "a")[...], for: "ab") == nil)
    }

    // MARK: - Windows

    @Test func `a window of another chat, or of another installation, is none`() async throws {
        let server = try await RedisServer()
        let peer = try await server.peer()
        let stranger = await Peer(try server.address(), keys: keys(secret: 8))
        let (own, other) = ("test:context:100000000:chat", "test:context:100000000:other")
        await peer.cache.keep(window(4), of: Chat.ID("other"))
        try await server.ask("COPY", other, own)
        #expect(await peer.cache.window(of: chat) == nil)
        #expect(await peer.cache.window(of: Chat.ID("other")) == window(4))
        await stranger.cache.keep(window(4), of: chat)
        #expect(await peer.cache.window(of: chat) == nil)
        // What it says of itself counts as well: it keeps no other window away.
        await peer.cache.keep(window(4), of: chat)
        try await server.ask("SETRANGE", own, "0", "9")
        #expect(await peer.cache.window(of: chat) == nil)
        await peer.cache.keep(window(5), of: chat)
        #expect(await peer.cache.window(of: chat) == window(5))
        await peer.close()
        await stranger.close()
    }

    // MARK: - Frames

    private func group(_ id: FrameID, _ frames: [UInt8]...) -> [UInt8] {
        Array("\(id.epoch)-\(id.sequence + 1)\n".utf8) + frames.flatMap(\.self)
    }

    @Test func `frames that other installations publish reach no subscriber`() async throws {
        let server = try await RedisServer()
        let peer = try await server.peer()
        let delivery = try await Delivery(peer.log)
        peer.bus.publish(beginning(of: "m"))
        await peer.bus.flush()
        let head = try await peer.log.head()
        let forged = delta("forged", of: "m")
        let strange = Seal(keys(secret: 8).frames)
        for bytes in [
            group(head, forged.encoded(at: 0, strange)),
            group(head, forged.encoded(at: 0, strange)),
            group(head, end(of: "m").encoded(at: 0, strange)), group(head, [1, 0x7A]),
            group(head, forged.encoded(at: 0, Seal(testKeys.windows))),
        ] { try await publish(bytes, server) }
        peer.bus.publish(delta("true", of: "m"))
        peer.bus.publish(end(of: "m"))
        try await delivery.ends(["m"])
        #expect(delivery.text(of: "m") == "true")
        #expect(delivery.starts == 0)
        await peer.close()
    }

    @Test func `frames that others put into a chat's stream are not there`() async throws {
        let server = try await RedisServer()
        let peer = try await server.peer()
        let start = try await peer.log.head()
        peer.bus.publish(beginning(of: "m"))
        peer.bus.publish(beginning(of: "other", in: "other"))
        peer.bus.publish(delta("1 ", of: "m"))
        await peer.bus.flush()
        let head = try await peer.log.head()
        let stream = "test:bus:\(head.epoch):frames:chat"
        let strange = Seal(keys(secret: 8).frames)
        let entries = [
            delta("forged", of: "m").encoded(at: 2, strange),
            // Of this installation, but of another chat, and words that were there before.
            beginning(of: "n", in: "other").encoded, delta("1 ", of: "m").encoded,
            delta("later", of: "m").encoded(at: 5, testSeal), [0x7A],
        ]
        for (index, entry) in entries.enumerated() {
            try await append(entry, "\(head.sequence + 1 + Int64(index))-0", to: stream, server)
        }
        try await server.ask("HINCRBY", "test:bus", "seq", "\(entries.count)")
        let frames = try #require(try await peer.log.frames(of: chat, after: start))
        #expect(joinedDeltas(frames, of: "m") == "1 ")
        #expect(frames.allSatisfy { $0.frame.messageID.text == "m" })
        let running = try await peer.log.runningFrames(of: chat).frames
        #expect(joinedDeltas(running, of: "m") == "1 ")
        await peer.close()
    }

    @Test func `deltas that come twice, or whose predecessors are missing, are skipped`() {
        var positions = DeltaPositions()
        func admits(_ frame: StreamFrame, _ position: Int) -> Bool {
            positions.admits(frame, at: position)
        }
        #expect(admits(delta("a", of: "m"), 7), "read from the middle")
        #expect(!admits(delta("a", of: "m"), 7))
        #expect(!admits(delta("c", of: "m"), 9))
        #expect(!admits(delta("x", of: "m", prompt: "p"), 0))
        #expect(admits(delta("é", of: "m"), 8))
        #expect(admits(delta("d", of: "m"), 10))
        #expect(admits(delta("n", of: "n"), 0))
        #expect(admits(end(of: "m"), 0))
        let largest = Int(PlacedFrame.largestPosition)
        #expect((0..<30_000).allSatisfy { admits(delta("w", of: "\($0)"), largest) })
        var sender = DeltaPositions()
        var sent: [Int] = []
        for frame in [
            delta("é", of: "m", prompt: "p"), delta("a", of: "m"), delta("b", of: "m"),
            end(of: "m"), delta("c", of: "m"),
        ] { sent.append(sender.take(frame)) }
        #expect(sent == [0, 2, 3, 0, 0])
    }

    private func publish(_ bytes: [UInt8], _ server: RedisServer) async throws {
        let client = try await server.client()
        _ = try await client.ask([Array("PUBLISH".utf8), Array("test:bus:0".utf8), bytes])
        await client.stop()
    }

    private func append(
        _ bytes: [UInt8], _ id: String, to stream: String, _ server: RedisServer
    ) async throws {
        let client = try await server.client()
        _ = try await client.ask(["XADD", stream, id, "f"].map { Array($0.utf8) } + [bytes])
        await client.stop()
    }
}
