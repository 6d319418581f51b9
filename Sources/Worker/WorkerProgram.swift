// proxy-gpt-worker: answers FastCGI requests on a socket that the pool of workers shares. Wires the
// modules together, serves until it is asked to stop, drains and ends. Holds no rule of the product.

internal import Credentials
internal import CurlUpstream
internal import EventLoop
internal import FastCGI
internal import Gateway
internal import HTTPAPI
internal import Logging
internal import Metrics
internal import ProxyGPT
internal import RedisStorage
internal import SQLStorage
internal import Service

@main
struct WorkerProgram {
    static func main() {
        ServiceProcess.main(
            "worker",
            purpose: "Answers the requests of Proxy GPT: speaks FastCGI with nginx, on a socket "
                + "that all workers share.", demandsSocket: true
        ) { try await Worker($0).run() }
    }
}

@EventLoop private final class Worker {
    private let service: ServiceProcess
    private let settings: Settings
    private let logger: Logger

    init(_ service: ServiceProcess) {
        self.service = service
        settings = service.settings
        logger = service.logger
    }

    /// Serves until a signal comes, then until all calls have ended.
    func run() async throws {
        let storage = try await ServiceStorage(service, kind: .worker)
        let bus: any Bus =
            try storage.redis?.bus
            ?? SQLiteBus.open(
                file: settings.busFile, wakeup: wakeup(), process: storage.process,
                identifiers: storage.identifiers, clock: storage.clock, logger: logger)
        let background = ServerBackground()
        let board = storage.scoreboard
        let api = API(
            settings: settings, store: storage.sql.store, events: storage.sql.events,
            upstream: CurlUpstream(upstreamConfiguration()), bus: bus,
            cache: storage.redis?.cache ?? MemoryContextCache(), background: background,
            hasher: try PasswordHasher(cost: .standard(logarithm: settings.passwordCost)),
            clock: storage.clock, identifiers: storage.identifiers,
            operators: storage.operators(bus: bus), scoreboard: board, logger: logger)
        try await storage.start(bus: bus) { api.replyWasClosed($0) }
        let server = try FastCGIServer(sockets()) { request in
            let exchange = FastCGIExchange(request)
            await api.serve(exchange.takeRequest(), to: exchange)
        }
        background.server = server
        try service.awaitSignals()
        let tickers =
            storage.tickers() + [
                ServiceProcess.tick(every: 1000) { await api.tick() },
                ServiceProcess.tick(every: 250) { await api.pollRunningReplies() },
            ]
        try server.start()
        board.set(.ready)
        await service.serve { answer in
            answer(
                "\(board.inFlight) in flight, \(board.requests) requests so far, "
                    + "\(board.errors) errors")
        }
        board.set(.draining)
        logger.info("worker draining", metadata: ["requests.in_flight": "\(server.inFlight)"])
        await server.drain(milliseconds: settings.drainTimeout)
        for ticker in tickers { ticker.cancel() }
        await api.finish()
        await storage.close()
    }

    private func upstreamConfiguration() -> CurlUpstream.Configuration {
        CurlUpstream.Configuration(
            key: settings.apiKey, keyHeader: settings.upstream.keyHeader,
            certificateFile: settings.certificateFile, proxies: settings.upstreamProxy,
            connectLimit: settings.connectTimeout, firstByteLimit: settings.firstByteTimeout,
            idleLimit: settings.idleTimeout, callLimit: settings.callTimeout,
            connections: settings.maxInFlight)
    }

    /// The sockets by the names that the service manager gave them; alone, descriptor 0.
    private func sockets() -> FastCGIServer.Configuration {
        let listener = service.descriptor(named: "worker") ?? 0
        // The service manager may have left room for a few waiting connections only.
        try? Sockets.setBacklog(of: listener)
        return FastCGIServer.Configuration(
            listener: listener,
            handover: service.descriptor(named: "handover"), maxInFlight: settings.maxInFlight)
    }

    /// The streamer's wakeup socket: under the name by which the service manager has bound it.
    private func wakeup() -> String {
        let socket = service.descriptor(named: "bell").flatMap { try? Sockets.ownAddress(of: $0) }
        return socket?.path ?? settings.bellSocket
    }
}

/// Tasks that outlive their request run beside the server's requests. The API exists before its
/// server.
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
