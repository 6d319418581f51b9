internal import EventLoop
internal import Glibc
internal import ProxyGPT
internal import TestSupport
internal import Testing

@testable internal import RedisStorage

/// A Redis that answers and refuses: nobody may wait for what it will never tell.
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

    /// Looks often, and has the patience that a busy machine needs to begin.
    private var watchful: RedisBusLog.Tuning {
        RedisBusLog.Tuning(looking: 20, patience: 5000, travel: 50)
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
        // Nobody publishes: whoever reads has to find out.
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

    @Test func `a log that cannot be looked at is away until it can be`() async throws {
        let server = try await RedisServer()
        let peer = try await server.peer(log: watchful)
        let delivery = try await Delivery(peer.log)
        try await server.ask("SET", "test:bus", "no hash")
        try await eventually { await peer.log.isAway() }
        #expect(delivery.starts >= 1)
        try await server.ask("DEL", "test:bus")
        try await eventually { await !peer.log.isAway() }
        await peer.close()
    }

    // MARK: - Listening

    @Test func `a refused subscription is told once`() async throws {
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
            try RedisAddress("unix://\(stranger.path)"), channel: "channel", patience: 50,
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
            ).groups.count
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
