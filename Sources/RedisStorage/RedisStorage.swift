package import Logging
package import ProxyGPT

/// A process's part in Redis. Redis may be away at any time, also at the start.
package final class RedisStorage: Sendable {
    /// The beginning of the names of all keys and channels; the installation's name comes next.
    package static let prefix = "proxy-gpt:"

    /// Context windows, for processes that run replies.
    package var cache: any ContextCache { windows }
    /// Frames on their way out, for processes that run replies.
    package let bus: RedisBus
    /// Frames as they arrive, for processes that hold subscribers.
    package let log: any BusLog
    private let client: RedisClient
    private let windows: RedisContextCache

    /// The storage that the settings name; nil where they name no Redis.
    package convenience init?(
        _ settings: Settings, keys: InstallationKeys, identifiers: any IdentifierSource,
        logger: Logger
    ) {
        guard let address = settings.redisAddress else { return nil }
        self.init(
            address, keys: keys, contextTokens: settings.contextTokens, identifiers: identifiers,
            logger: logger)
    }

    /// - Parameters:
    ///   - keys: name and seal this installation's entries.
    ///   - contextTokens: the token budget of context windows.
    ///   - identifiers: the source of epochs' names and of the jitter of tries.
    package init(
        _ address: RedisAddress, keys: InstallationKeys, contextTokens: Int,
        identifiers: any IdentifierSource, logger: Logger
    ) {
        let prefix = "\(Self.prefix)\(keys.name):"
        let client = RedisClient(
            address, prefix: prefix, tuning: RedisClient.Tuning(), identifiers: identifiers,
            logger: logger)
        let place = BusPlace(
            prefix: prefix, database: address.database, seal: Seal(keys.frames))
        self.client = client
        windows = RedisContextCache(
            client, prefix: prefix, seal: Seal(keys.windows), budget: contextTokens)
        bus = RedisBus(client, place: place, identifiers: identifiers, logger: logger)
        log = RedisBusLog(
            client, place: place, identifiers: identifiers, tuning: RedisBusLog.Tuning(),
            logger: logger)
    }

    /// Begins to connect; waits for nothing.
    package func start() async {
        await bus.start()
        await windows.start()
        await client.start()
    }

    /// Sends the published frames, as far as Redis is there, and ends the connections.
    package func close() async {
        await log.stop()
        await bus.close()
        await client.stop()
    }
}
