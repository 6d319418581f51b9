// proxy-gpt-streamer: holds `/chat/stream`. Wires the modules together, runs until SIGTERM, sends
// everybody away in good order and ends. Writes nothing durable but event rows: killed at any time,
// its clients come back and resume.

internal import Credentials
internal import EventLoop
internal import Glibc
internal import HTTPAPI
internal import Logging
internal import Logs
internal import ProxyGPT
internal import RedisStorage
internal import SQLStorage

@main
struct StreamerProgram {
    /// Exit code of a process that will not start because of its settings (sysexits.h, EX_CONFIG).
    private static let configurationError: Int32 = 78

    static func main() {
        umask(0o077)
        let manager = Settings.ServiceManager()
        let settings: Settings
        do {
            settings = try Settings.fromEnvironment()
        } catch {
            LineLogHandler.write("proxy-gpt-streamer does not start:\n\(error)\n")
            exit(configurationError)
        }
        let logger = LineLogHandler.logger("streamer", level: settings.logLevel)
        Signals.block([SIGTERM, SIGINT])
        raiseDescriptorLimit()
        EventLoop.run {
            do {
                try await Streamer(settings, manager, logger).run()
            } catch {
                logger.critical("streamer failed", metadata: ["error": "\(error)"])
                exit(1)
            }
        }
    }

    /// A stream is a descriptor.
    private static func raiseDescriptorLimit() {
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return }
        limit.rlim_cur = limit.rlim_max
        setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    }
}

@EventLoop private final class Streamer {
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

    /// Serves until a signal comes, then until all streams have ended.
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
        let log: any BusLog =
            try redis?.log
            ?? SQLiteBusLog.open(
                file: settings.busFile, bell: bell(), process: process, identifiers: identifiers,
                logger: logger)
        // Its own frames are the ends of replies whose process died.
        let bus: any Bus =
            try redis?.bus
            ?? SQLiteBus.open(
                file: settings.busFile, bell: settings.bellSocket, process: process,
                identifiers: identifiers, clock: clock, logger: logger)
        storage.lease.replyWasClosed = { message in
            bus.publish(StreamFrame(endOf: message))
        }
        try await storage.lease.start()

        let endpoint = StreamEndpoint(
            settings: settings, store: storage.store, events: storage.events, clock: clock,
            identifiers: identifiers, logger: logger)
        let realtime = RealtimeEndpoint(
            settings: settings, store: storage.store, events: storage.events, clock: clock,
            identifiers: identifiers, logger: logger)
        let calls = RealtimeStorage(endpoint: realtime, logger: logger)
        let resolver = FrameResolver(store: storage.store)
        let side = StorageSide(
            endpoint: endpoint, store: storage.store,
            histories: HistoryReader(log: log, store: storage.store, resolver: resolver),
            bus: bus, logger: logger)
        let watched = WatchedChats()
        let server = try await StreamServer.start(
            FanOut.Surroundings(
                storage: side, watched: watched, limits: limits(),
                now: { clock.monotonicMicroseconds() / 1000 },
                spread: { Randomness.number(in: $0) }),
            try surroundings(of: realtime, calls, clock))
        let (fanOut, openCalls) = (server.fanOut, server.calls)
        let storeWatch = StoreWatch(
            log: log, store: storage.store, watched: watched, logger: logger
        ) { ended, areNew in fanOut.enter { $0.receive(ended: ended, areNew: areNew) } }
        let live = LiveReader(
            log: log, resolver: resolver, watched: watched, logger: logger, storeWatch: storeWatch
        ) { batch in fanOut.enter { $0.receive(batch) } }
        let revocations = RevocationReader(store: storage.store, logger: logger) { found in
            fanOut.enter { $0.receive(found) }
            openCalls.enter { $0.receive(found) }
        }
        // What may be missed is read before anybody is there to miss it.
        try await revocations.start()
        try await live.start()
        storeWatch.start()
        let signals = try Signals([SIGTERM, SIGINT]) { self.received($0) }
        let ticker = tick(endpoint, realtime)
        let channel = try await server.listen(on: listener()) { request, reply in
            if RealtimeEndpoint.serves(request) {
                calls.answer(request, reply: reply)
            } else {
                side.answer(request, reply: reply)
            }
        }
        if case .path(let path) = listener() { chmod(path, 0o660) }
        logger.info("streamer ready", metadata: ["process.id": "\(getpid())"])
        notify("READY=1")
        await withUnsafeContinuation { stopping = $0 }
        notify("STOPPING=1")
        logger.info("streamer draining")
        try await server.drain(closing: channel)
        ticker.cancel()
        revocations.stop()
        storeWatch.stop()
        await live.stop()
        endpoint.tick()
        realtime.tick()
        await side.finishRecording()
        await calls.finishRecording()
        await bus.close()
        await redis?.close()
        await storage.close()
        withExtendedLifetime(signals) {}
        logger.info("streamer stopped")
    }

    private func surroundings(
        of endpoint: RealtimeEndpoint, _ storage: RealtimeStorage, _ clock: any Clock
    ) throws -> RealtimeCalls.Surroundings {
        RealtimeCalls.Surroundings(
            endpoint: endpoint, storage: storage, route: try UpstreamRoute(settings),
            places: limits(),
            limits: SocketRelay.Limits(
                silence: settings.idleTimeout, patience: min(settings.idleTimeout, 30_000)),
            microseconds: { clock.monotonicMicroseconds() },
            spread: { Randomness.number(in: $0) }, makeMask: { Randomness.bytes(4) })
    }

    private func limits() -> FanOut.Limits {
        // Many users may share an address, but not everybody.
        FanOut.Limits(
            perUser: settings.maxStreamsPerUser,
            perAddress: max(settings.maxStreamsPerUser, settings.maxStreams / 10),
            total: settings.maxStreams)
    }

    private func received(_ signal: Int32) {
        stopSignals += 1
        if stopSignals > 1 { exit(signal == SIGINT ? 130 : 143) }
        stopping?.resume()
        stopping = nil
    }

    private func tick(
        _ endpoint: StreamEndpoint, _ realtime: RealtimeEndpoint
    ) -> Task<Void, Never> {
        EventLoop.spawn {
            while !Task.isCancelled {
                await EventLoop.sleep(milliseconds: 1000)
                endpoint.tick()
                realtime.tick()
            }
        }
    }

    // MARK: - The service manager

    private func descriptor(named name: String) -> Int32? {
        (manager.descriptorNames ?? []).firstIndex(of: name).map { 3 + Int32($0) }
    }

    private func listener() -> StreamServer.Listener {
        descriptor(named: "streamer").map { .descriptor($0) } ?? .path(settings.streamerSocket)
    }

    private func bell() -> SQLiteBusLog.Bell {
        descriptor(named: "bell").map { .descriptor($0) } ?? .path(settings.bellSocket)
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
