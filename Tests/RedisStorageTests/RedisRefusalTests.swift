internal import EventLoop
internal import Glibc
internal import ProxyGPT
internal import TestSupport
internal import Testing

@testable internal import RedisStorage

/// A Redis that answers and refuses: no caller may wait for an answer that never comes.
@Suite struct RedisRefusalTests {
    enum Refusal: CaseIterable {
        case memory, snapshot, replica, replicas

        /// - Parameter admin: it was there before, and sends nothing that is refused.
        func begin(_ server: RedisServer, _ admin: RedisClient) async throws {
            switch self {
            case .memory: try await tell(admin, "CONFIG", "SET", "maxmemory", "1")
            case .replicas: try await tell(admin, "CONFIG", "SET", "min-replicas-to-write", "1")
            case .replica: try await tell(admin, "REPLICAOF", "127.0.0.1", "1")
            case .snapshot:
                // No file takes the place of a directory.
                mkdir(server.directory + "/dump.rdb", 0o700)
                try await save(admin, status: "err")
            }
        }

        func end(_ server: RedisServer, _ admin: RedisClient) async throws {
            switch self {
            case .memory: try await tell(admin, "CONFIG", "SET", "maxmemory", "0")
            case .replicas: try await tell(admin, "CONFIG", "SET", "min-replicas-to-write", "0")
            case .replica: try await tell(admin, "REPLICAOF", "NO", "ONE")
            case .snapshot:
                rmdir(server.directory + "/dump.rdb")
                try await save(admin, status: "ok")
            }
        }

        private func save(_ admin: RedisClient, status: String) async throws {
            try await tell(admin, "BGSAVE")
            try await eventually {
                try await tell(admin, "INFO", "persistence").bytes.map {
                    String(decoding: $0, as: UTF8.self)
                        .contains("rdb_last_bgsave_status:\(status)")
                } ?? false
            }
        }

        @discardableResult
        private func tell(_ admin: RedisClient, _ words: String...) async throws -> RedisReply {
            try await admin.ask(words.map { Array($0.utf8) })
        }
    }

    /// Polls often, and has a time limit that a busy machine needs to begin.
    private var watchful: RedisBusLog.Tuning {
        RedisBusLog.Tuning(pollInterval: 20, awayDelay: 5000, travel: 50)
    }

    @Test(arguments: Refusal.allCases)
    func `a Redis that takes no writes is away, however well it answers`(
        refusal: Refusal
    ) async throws {
        let server = try await RedisServer(["--save", "3600 1000000"])
        let admin = try await server.client()
        let journal = LogJournal()
        let peer = try await server.peer(log: watchful, logger: journal.logger)
        let delivery = try await Delivery(peer.log)
        try await eventually { await !peer.log.isAway() }
        // Without publications the reader has to find out by itself.
        try await refusal.begin(server, admin)
        try await eventually { await peer.log.isAway() }
        #expect(await !peer.bus.isReachable())
        #expect(delivery.starts >= 1)
        try await refusal.end(server, admin)
        try await eventually { await !peer.log.isAway() }
        #expect(await peer.bus.isReachable())
        #expect(journal.text.occurrences(of: "redis is away") <= 2)
        peer.bus.publishReply("m", words: 3)
        try await delivery.ends(["m"])
        await peer.close()
        await admin.stop()
    }

    @Test(arguments: ["-hmget", "-xadd", "-publish", "-evalsha -eval", "resetkeys ~other"])
    func `a Redis that refuses a right is away until it gives it back`(
        rights: String
    ) async throws {
        let server = try await RedisServer()
        let admin = try await server.client()
        func allow(_ words: String) async throws {
            let command = "ACL SETUSER some on >word ~* &* +@all " + words
            let parts = command.split(separator: " ").map { Array($0.utf8) }
            #expect(try await admin.ask(parts) == .status("OK"))
        }
        try await allow("")
        let journal = LogJournal()
        let peer = await Peer(
            try server.address("some:word@"), log: watchful, logger: journal.logger)
        let delivery = try await Delivery(peer.log)
        let idle = await Peer(try server.address("some:word@"), log: watchful)
        _ = try await Delivery(idle.log)
        peer.bus.publishReply("before", words: 1)
        try await delivery.ends(["before"])
        try await allow(rights)
        // Also for those that have nothing to send: they only look.
        try await eventually { await idle.log.isAway() }
        try await eventually { await !idle.bus.isReachable() }
        peer.bus.publish(end(of: "m"))
        try await eventually { await !peer.bus.isReachable() }
        try await eventually { await peer.log.isAway() }
        // Tries go on, and announce no return.
        let tries = journal.text.occurrences(of: "redis is there")
        for _ in 0..<20 {
            await EventLoop.sleep(milliseconds: 20)
            #expect(await !peer.bus.isReachable())
        }
        #expect(journal.text.occurrences(of: "redis is there") == tries)
        try await allow("allkeys")
        try await eventually { await peer.bus.isReachable() }
        try await eventually { await !idle.log.isAway() }
        await idle.close()
        // The end has waited; it may be history by now.
        try await eventually {
            let first = FrameID(epoch: try await peer.log.head().epoch, sequence: 0)
            let frames = try await peer.log.frames(of: Chat.ID("chat"), after: first)
            return frames?.contains { $0.frame == end(of: "m") } == true
        }
        await peer.close()
        await admin.stop()
    }

    @Test func `three refusals of the same in a row are too many, whatever else succeeds`() {
        var refusals = Refusals()
        func refuse(_ group: String, _ code: String = "NOPERM") -> Bool {
            refusals.refused(group, code: code)
        }
        #expect(!refuse("append") && !refuse("append"))
        refusals.succeeded("state")
        #expect(refuse("append"))
        refusals.succeeded("append")
        #expect(!refuse("append") && !refuse("state"))
        // Of windows each key is another one.
        for _ in 0..<9 { #expect(!refuse(Refusals.windows, "WRONGTYPE")) }
        #expect(!refuse(Refusals.windows) && !refuse(Refusals.windows) && refuse(Refusals.windows))
    }

    /// The command in `docs/operate.md` that makes the user.
    private func documentedUser() throws -> [String] {
        let parts = #filePath.split(separator: "/", omittingEmptySubsequences: false).dropLast(3)
        let path = parts.joined(separator: "/") + "/docs/operate.md"
        let file = try #require(fopen(path, "re"))
        defer { fclose(file) }
        var bytes = [UInt8](repeating: 0, count: 100_000)
        let count = fread(&bytes, 1, bytes.count, file)
        let text = String(decoding: bytes.prefix(count), as: UTF8.self)
        let line = text.split(separator: "\n").first { $0.contains("ACL SETUSER proxy-gpt ") }
        return try #require(line).split(separator: " ").map(String.init)
    }

    @Test(arguments: [false, true])
    func `the user that the documents name suffices`(isNarrow: Bool) async throws {
        let server = try await RedisServer()
        let admin = try await server.client()
        let command = try documentedUser().map {
            isNarrow && $0.contains("proxy-gpt:*") ? $0 + "name:*" : $0
        }.map { isNarrow ? $0.replacing("*name:", with: "name:") : $0 }
        #expect(try await admin.ask(command.map { Array($0.utf8) }) == .status("OK"))
        let journal = LogJournal()
        let peer = await Peer(
            try server.address("proxy-gpt:PASSWORD@"), log: watchful, frameLimit: 50,
            logger: journal.logger, prefix: "proxy-gpt:name:")
        await peer.cache.start()
        let delivery = try await Delivery(peer.log)
        try await eventually { await !peer.log.isAway() }
        for round in 0..<20 { peer.bus.publishReply("m\(round)", words: 10) }
        peer.bus.publish(beginning(of: "running"))
        try await delivery.ends((0..<20).map { "m\($0)" })
        await peer.bus.flush()
        let head = try await peer.log.head()
        let chat = Chat.ID("chat")
        _ = try await peer.log.frames(of: chat, after: head)
        #expect(!(try await peer.log.runningFrames(of: chat).frames.isEmpty))
        let window = ContextWindow(version: 1, newestFirst: [], limit: 1, budget: 100_000_000)
        await peer.cache.keep(window, of: chat)
        #expect(await peer.cache.window(of: chat) == window)
        await peer.cache.forget(chat)
        #expect(await peer.cache.window(of: chat) == nil)
        // What is tried after refusals is allowed, too.
        _ = try await admin.ask(["ACL", "SETUSER", "proxy-gpt", "-hset"].map { Array($0.utf8) })
        peer.bus.publish(end(of: "running"))
        try await eventually { await !peer.client.isReady }
        _ = try await admin.ask(["ACL", "SETUSER", "proxy-gpt", "+hset"].map { Array($0.utf8) })
        try await eventually { await peer.client.isReady }
        _ = try await admin.ask(
            ["SET", "proxy-gpt:name:context:100000000:chat", "x"].map { Array($0.utf8) })
        #expect(await peer.cache.window(of: chat) == nil)
        await peer.bus.flush()
        let refused = try await admin.ask(["ACL", "LOG"].map { Array($0.utf8) }).list ?? []
        let words = refused.compactMap { entry in
            entry.list?.dropFirst(7).first?.text
        }
        #expect(words.allSatisfy { $0 == "hset" }, "\(words)")
        #expect(journal.text.occurrences(of: "bus is not heard") == 0)
        await peer.close()
        await admin.stop()
    }

    // MARK: - Listening

    @Test func `a refused subscription is logged once`() async throws {
        let server = try await RedisServer()
        try await server.ask(
            "ACL", "SETUSER", "deaf", "on", ">word", "~*", "+@all", "resetchannels")
        let journal = LogJournal()
        let peer = await Peer(
            try server.address("deaf:word@"), log: watchful, logger: journal.logger)
        _ = try await Delivery(peer.log)
        try await eventually {
            let statistics = try await server.ask("INFO", "commandstats").bytes ?? []
            let line = String(decoding: statistics, as: UTF8.self)
                .split(separator: "\r\n").first { $0.hasPrefix("cmdstat_subscribe:") }
            return ["rejected_calls=0", "rejected_calls=1,", "rejected_calls=2,"]
                .allSatisfy { line?.contains($0) == false }
        }
        #expect(journal.text.occurrences(of: "NOPERM") == 1)
        await peer.close()
    }

    @Test func `a subscription that is never answered is made anew`() async throws {
        _ = Loop.started
        let stranger = try Stranger("")
        let journal = LogJournal()
        let subscription = await Subscription(
            try RedisAddress("unix://\(stranger.path)"), channel: "channel", connectTimeout: 50,
            identifiers: ids, logger: journal.logger, began: {}, receive: { _ in })
        await subscription.start()
        try await eventually { journal.text.contains("no answer in time") }
        await subscription.stop()
        stranger.close()
    }

    // MARK: - Gaps

    @Test func `a gap that is too much for one answer is read in smaller parts`() async throws {
        let server = try await RedisServer()
        let writer = try await server.peer()
        for index in 0..<60 {
            writer.bus.publish(end(of: "m\(index)"))
            await writer.bus.flush()
        }
        let client = try await server.client(budget: 8_000)
        try await eventually { await client.isReady }
        let reader = BusReader(
            client, place: BusPlace(prefix: "test:", database: 0, seal: testSeal),
            identifiers: ids)
        let head = try await reader.head(known: nil)
        func recent(after sequence: Int64) async throws -> Int {
            try await reader.recent(
                after: FrameID(epoch: head.epoch, sequence: sequence), renewing: ""
            ).batches.count
        }
        #expect(try await recent(after: 0) == 50)
        server.pause()
        await #expect(throws: RedisError.late) { _ = try await recent(after: 0) }
        server.resume()
        try await eventually { await client.underWay == 0 }
        #expect(try await recent(after: 0) == 12)
        #expect(try await recent(after: 12) == 12, "as many until the gap is read")
        #expect(try await recent(after: 55) == 5)
        #expect(try await recent(after: 0) == 50)
        await client.stop()
        await writer.close()
    }
}
