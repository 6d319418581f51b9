internal import EventLoop
internal import Logging
internal import ProxyGPT
internal import Synchronization
internal import TestSupport
internal import Testing

@testable internal import RedisStorage

/// A process's part in the bus: a client with what hangs on it.
final class Peer: Sendable {
    let client: RedisClient
    let bus: RedisBus
    let log: RedisBusLog
    let cache: RedisContextCache

    init(
        _ address: RedisAddress, client tuning: RedisClient.Tuning = Peer.patient,
        log logTuning: RedisBusLog.Tuning = RedisBusLog.Tuning(), frameLimit: Int = 20_000,
        bounds: FrameQueue.Bounds = FrameQueue.Bounds(), logger: Logger = silent,
        prefix: String = "test:"
    ) async {
        client = RedisClient(address, tuning: tuning, identifiers: ids, logger: logger)
        var place = BusPlace(prefix: prefix, database: address.database)
        place.frameLimit = frameLimit
        bus = RedisBus(client, place: place, identifiers: ids, logger: logger, bounds: bounds)
        log = RedisBusLog(
            client, place: place, identifiers: ids, tuning: logTuning, logger: logger)
        cache = RedisContextCache(client, prefix: prefix, budget: 100_000_000)
        await bus.start()
        await client.start()
        await client.firstTry()
    }

    /// Budgets that a busy machine does not exceed, for what is not about time.
    static let patient = RedisClient.Tuning(budget: 10_000, patience: 10_000)

    func close() async {
        await log.stop()
        await bus.close()
        await client.stop()
    }

    func isReady(_ isReady: Bool = true) async throws {
        try await eventually { await self.client.isReady == isReady }
    }
}

extension RedisServer {
    func peer(
        client tuning: RedisClient.Tuning = Peer.patient,
        log logTuning: RedisBusLog.Tuning = RedisBusLog.Tuning(), frameLimit: Int = 20_000,
        database: Int = 0, bounds: FrameQueue.Bounds = FrameQueue.Bounds(),
        logger: Logger = silent
    ) async throws -> Peer {
        await Peer(
            try address(database: database), client: tuning, log: logTuning,
            frameLimit: frameLimit, bounds: bounds, logger: logger)
    }
}

/// A log handler that keeps everything as text.
final class Journal: Sendable {
    private let lines = Mutex<[String]>([])

    var text: String { lines.withLock { $0.joined(separator: "\n") } }

    var logger: Logger { Logger(label: "test", factory: { _ in Handler(journal: self) }) }

    private struct Handler: LogHandler {
        let journal: Journal
        var metadata: Logger.Metadata = [:]
        var logLevel = Logger.Level.trace

        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { metadata[key] }
            set { metadata[key] = newValue }
        }

        func log(event: LogEvent) {
            let line = "\(event.level) \(event.message) \(event.metadata ?? [:])"
            journal.lines.withLock { $0.append(line) }
        }
    }
}

extension String {
    /// How often a text occurs.
    func occurrences(of text: String) -> Int {
        split(separator: text, omittingEmptySubsequences: false).count - 1
    }
}
