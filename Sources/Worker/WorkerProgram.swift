// proxy-gpt-worker: answers FastCGI requests on a socket that the pool of workers shares. Wires the
// modules together, runs until SIGTERM, drains and ends. Holds no rule of the product.

internal import Credentials
internal import CurlUpstream
internal import EventLoop
internal import FastCGI
internal import Glibc
internal import HTTPAPI
internal import Logging
internal import Logs
internal import ProxyGPT
internal import RedisStorage
internal import SQLStorage

@main
struct WorkerProgram {
    /// Exit code of a process that will not start because of its settings (sysexits.h, EX_CONFIG).
    private static let configurationError: Int32 = 78

    static func main() {
        umask(0o077)
        let manager = Settings.ServiceManager()
        let settings: Settings
        do {
            settings = try Settings.fromEnvironment()
        } catch {
            LineLogHandler.write("proxy-gpt-worker does not start:\n\(error)\n")
            exit(configurationError)
        }
        let logger = LineLogHandler.logger("worker", level: settings.logLevel)
        Signals.block([SIGTERM, SIGINT])
        raiseDescriptorLimit()
        EventLoop.run {
            do {
                try await Worker(settings, manager, logger).run()
            } catch {
                logger.critical("worker failed", metadata: ["error": "\(error)"])
                exit(1)
            }
        }
    }

    /// A connection and an upstream call are a descriptor each.
    private static func raiseDescriptorLimit() {
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return }
        limit.rlim_cur = limit.rlim_max
        setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    }
}

@EventLoop private final class Worker {
    private let settings: Settings
    private let manager: Settings.ServiceManager
    private let logger: Logger
    private var stopping: UnsafeContinuation<Void, Never>?
    private var stopSignals = 0

    init(_ settings: Settings, _ manager: Settings.ServiceManager, _ logger: Logger) {
        self.settings = settings
        self.manager = manager
        self.logger = logger
    }

    /// Serves until a signal comes, then until all calls have ended.
    func run() async throws {
        let clock = SystemClock()
        let identifiers = RandomIdentifiers(clock: clock)
        let process = try ProcessIdentity.current(
            id: identifiers.next(), stateDirectory: settings.stateDirectory)
        let storage = try await SQLStorage.open(
            settings.database, connections: settings.databaseConnections, process: process,
            clock: clock, eventDays: settings.eventDays, logger: logger)
        let redis = RedisStorage(settings, identifiers: identifiers, logger: logger)
        await redis?.start()
        let bus: any Bus =
            try redis?.bus
            ?? SQLiteBus.open(
                file: settings.busFile, bell: settings.bellSocket, process: process,
                identifiers: identifiers, clock: clock, logger: logger)
        let background = ServerBackground()
        let api = API(
            settings: settings, store: storage.store, events: storage.events,
            upstream: CurlUpstream(upstreamConfiguration()), bus: bus,
            cache: redis?.cache ?? MemoryContextCache(), background: background,
            hasher: try PasswordHasher(),
            clock: clock, identifiers: identifiers, logger: logger)
        storage.lease.replyWasClosed = { api.replyWasClosed($0) }
        try await storage.lease.start()
        let server = try FastCGIServer(sockets()) { request in
            let exchange = FastCGIExchange(request)
            await api.serve(exchange.takeRequest(), to: exchange)
        }
        background.server = server
        let signals = try Signals([SIGTERM, SIGINT]) { self.received($0) }
        let tickers = [
            tick(every: 1000) { await api.tick() }, tick(every: 250) { await api.lookAtReplies() },
        ]
        try server.start()
        logger.info("worker ready", metadata: ["process.id": "\(getpid())"])
        notify("READY=1")
        await withUnsafeContinuation { stopping = $0 }
        notify("STOPPING=1")
        logger.info("worker draining", metadata: ["requests.in_flight": "\(server.inFlight)"])
        await server.drain(milliseconds: settings.drainTimeout)
        for ticker in tickers { ticker.cancel() }
        await api.tick()
        await bus.close()
        await redis?.close()
        await storage.close()
        withExtendedLifetime(signals) {}
        logger.info("worker stopped")
    }

    private func received(_ signal: Int32) {
        stopSignals += 1
        // Asked twice, or by somebody at a keyboard, it does not wait for long calls.
        if stopSignals > 1 { exit(signal == SIGINT ? 130 : 143) }
        stopping?.resume()
        stopping = nil
    }

    private func tick(
        every milliseconds: Int64, _ action: @escaping @EventLoop () async -> Void
    ) -> Task<Void, Never> {
        EventLoop.spawn {
            while !Task.isCancelled {
                await EventLoop.sleep(milliseconds: milliseconds)
                await action()
            }
        }
    }

    private func upstreamConfiguration() -> CurlUpstream.Configuration {
        CurlUpstream.Configuration(
            key: settings.apiKey, keyHeader: settings.upstream.keyHeader,
            certificateFile: settings.certificateFile, connectLimit: settings.connectTimeout,
            firstByteLimit: settings.firstByteTimeout, idleLimit: settings.idleTimeout,
            callLimit: settings.callTimeout, connections: settings.maxInFlight)
    }

    /// The sockets by the names that the service manager gave them; alone, descriptor 0.
    private func sockets() -> FastCGIServer.Configuration {
        let first: Int32 = 3
        let names = manager.descriptorNames ?? []
        let handover = names.firstIndex(of: "handover").map { first + Int32($0) }
        let listener = names.firstIndex { $0 != "handover" }.map { first + Int32($0) }
        return FastCGIServer.Configuration(
            listener: listener ?? 0, handover: handover, maxInFlight: settings.maxInFlight)
    }

    /// Tells the service manager, where there is one (sd_notify(3)).
    private func notify(_ state: String) {
        guard let path = manager.notifySocket else { return }
        do {
            try Sockets.sendDatagram(Array(state.utf8), toPath: path)
        } catch {
            logger.warning("service manager not notified", metadata: ["error": "\(error)"])
        }
    }
}

/// What outlives its request runs beside the server's requests. The API is there before its server.
@EventLoop private final class ServerBackground: Background {
    weak var server: FastCGIServer?

    nonisolated init() {}

    nonisolated func start(
        counts: Bool, _ body: @escaping @Sendable () async -> Void
    ) -> Task<Void, Never> {
        EventLoop.assumeIsolated {
            server?.startBackground(counts: counts, body) ?? EventLoop.spawn { await body() }
        }
    }
}
