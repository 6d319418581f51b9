internal import Credentials
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
        _ address: RedisAddress, client tuning: RedisClient.Tuning = Peer.slow,
        log logTuning: RedisBusLog.Tuning = Peer.slowLog, frameLimit: Int = 20_000,
        bounds: FrameQueue.Bounds = FrameQueue.Bounds(), logger: Logger = silent,
        prefix: String = "test:", keys: InstallationKeys = testKeys
    ) async {
        client = RedisClient(
            address, prefix: prefix, tuning: tuning, identifiers: ids, logger: logger)
        var place = BusPlace(
            prefix: prefix, database: address.database, seal: Seal(keys.frames))
        place.frameLimit = frameLimit
        bus = RedisBus(client, place: place, identifiers: ids, logger: logger, bounds: bounds)
        log = RedisBusLog(
            client, place: place, identifiers: ids, tuning: logTuning, logger: logger)
        cache = RedisContextCache(
            client, prefix: prefix, seal: Seal(keys.windows), budget: 100_000_000)
        await bus.start()
        await client.start()
        await client.firstTry()
    }

    /// Budgets that a busy machine does not exceed, for what is not about time.
    static let slow = RedisClient.Tuning(budget: 10_000, connectTimeout: 10_000)
    static let slowLog = RedisBusLog.Tuning(awayDelay: 30_000)

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
        client tuning: RedisClient.Tuning = Peer.slow,
        log logTuning: RedisBusLog.Tuning = Peer.slowLog, frameLimit: Int = 20_000,
        database: Int = 0, bounds: FrameQueue.Bounds = FrameQueue.Bounds(),
        logger: Logger = silent
    ) async throws -> Peer {
        await Peer(
            try address(database: database), client: tuning, log: logTuning,
            frameLimit: frameLimit, bounds: bounds, logger: logger)
    }
}

/// Those of the installation that tests are.
let testKeys = keys(secret: 7)
let testSeal = Seal(testKeys.frames)

func keys(secret: UInt8) -> InstallationKeys {
    let secret = [UInt8](repeating: secret, count: 32)
    guard let installation = Installation(name: "0123456789abcdef", secret: secret) else {
        preconditionFailure("no installation")
    }
    return installation.keys
}

extension StreamFrame {
    /// The first frame of its reply, as this installation sends it.
    var encoded: [UInt8] { encoded(at: 0, testSeal) }
}

extension FrameBatch {
    init?(_ bytes: [UInt8]) { self.init(bytes, testSeal) }
}

extension String {
    /// How often a text occurs.
    func occurrences(of text: String) -> Int {
        split(separator: text, omittingEmptySubsequences: false).count - 1
    }
}
