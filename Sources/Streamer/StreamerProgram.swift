// proxy-gpt-streamer: holds `/chat/stream`. Wires the modules together, serves until it is asked to stop, sends
// everybody away in good order and ends. Writes nothing durable but event rows: killed at any time,
// its clients come back and resume.

internal import Credentials
internal import EventLoop
internal import Glibc
internal import HTTPAPI
internal import Logging
internal import Metrics
internal import ProxyGPT
internal import RedisStorage
internal import SQLStorage
internal import Service

@main
struct StreamerProgram {
    static func main() {
        ServiceProcess.main(
            "streamer",
            purpose: "Holds the streams of Proxy GPT and its WebSockets to the upstream, behind "
                + "nginx."
        ) { try await Streamer($0).run() }
    }
}

@EventLoop private final class Streamer {
    private let service: ServiceProcess
    private let settings: Settings
    private let logger: Logger

    init(_ service: ServiceProcess) {
        self.service = service
        settings = service.settings
        logger = service.logger
    }

    /// Serves until a signal comes, then until all streams have ended.
    func run() async throws {
        let lock = try StreamerLock(stateDirectory: settings.stateDirectory)
        defer { withExtendedLifetime(lock) {} }
        let clock = SystemClock()
        let identifiers = RandomIdentifiers(clock: clock)
        let process = try ProcessIdentity.current(
            id: identifiers.next(), stateDirectory: settings.stateDirectory, digest: sha256)
        let boards = ScoreboardDirectory(
            settings.scoreboards, Catalog(routes: Router.countedRoutes))
        let (board, problem) = boards.makeBoard(
            .streamer, name: process.id, startedAt: clock.now().milliseconds * 1000)
        if let problem {
            logger.warning("figures are not shared", metadata: ["error": "\(problem)"])
        }
        EventLoop.observeTurns {
            board.observe(board.catalog.loopTurn, board.kind.rawValue, $0)
        }
        let storage = try await SQLStorage.open(
            settings.database, connections: settings.databaseConnections,
            prepares: settings.preparesStatements, process: process,
            clock: clock, identifiers: identifiers, eventDays: settings.eventDays,
            scoreboard: board, logger: logger)
        let installation = try await storage.installation(orElse: .random())
        let redis = RedisStorage(
            settings, keys: installation.keys, identifiers: identifiers, logger: logger)
        await redis?.start()
        // Its own frames are the ends of replies whose process died.
        let (log, bus): (any BusLog, any Bus) =
            if let redis {
                (redis.log, redis.bus)
            } else {
                try busOfHost(process, clock, identifiers, board)
            }
        storage.lease.replyWasClosed = { message in
            bus.publish(StreamFrame(endOf: message))
        }
        storage.lease.bus = bus
        try await storage.lease.start()

        let recorder = StreamRecorder(
            settings: settings, events: storage.events, clock: clock, identifiers: identifiers,
            scoreboard: board, logger: logger)
        let endpoint = StreamEndpoint(
            settings: settings, store: storage.store, events: storage.events, clock: clock,
            recorder: recorder)
        let realtime = RealtimeEndpoint(
            settings: settings, store: storage.store, events: storage.events, clock: clock,
            recorder: recorder, logger: logger)
        let operators = OperatorEndpoint(
            readiness: Readiness(storage: storage, bus: bus, settings: settings), boards: boards,
            version: Product.version, now: { clock.now() },
            pause: { await EventLoop.sleep(milliseconds: 5) })
        let calls = RealtimeStorage(endpoint: realtime, logger: logger)
        let resolver = FrameResolver(store: storage.store)
        let endedMessages = EndedMessages()
        let side = StorageSide(
            endpoint: endpoint, store: storage.store,
            histories: HistoryReader(
                log: log, store: storage.store, resolver: resolver, endedMessages: endedMessages),
            bus: bus, logger: logger)
        let watched = WatchedChats()
        let server = try await StreamServer.start(
            FanOut.Surroundings(
                storage: side, watched: watched, limits: limits(),
                now: { clock.monotonicMicroseconds() / 1000 },
                spread: { identifiers.number(in: $0) }, scoreboard: board),
            try surroundings(of: realtime, calls, clock, identifiers))
        let (fanOut, openCalls) = (server.fanOut, server.calls)
        let storeWatch = StoreWatch(
            log: log, store: storage.store, watched: watched, endedMessages: endedMessages,
            logger: logger
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
        let missedEnds = MissedEndReader(
            bus: bus, store: storage.store, clock: clock, logger: logger)
        let missedEndRecorder = MissedEndRecorder(
            bus: bus, store: storage.store, clock: clock, logger: logger)
        try service.awaitSignals()
        let tickers = [
            ServiceProcess.tick(every: RevocationReader.interval) { await revocations.look() },
            ServiceProcess.tick(every: StoreWatch.interval) { await storeWatch.look() },
            ServiceProcess.tick(every: MissedEndReader.interval) { await missedEnds.look() },
            ServiceProcess.tick(every: MissedEndRecorder.interval) {
                await missedEndRecorder.tick()
            },
            ServiceProcess.tick(every: 1000) {
                recorder.tick()
                board.noteProcess()
                await storage.note(in: board)
                if redis != nil {
                    board.set(board.catalog.redisUp, isUp: await bus.isReachable())
                }
            },
        ]
        let channel = try await server.listen(on: try listener()) { request, reply in
            if OperatorEndpoint.serves(request) {
                EventLoop.spawn { reply(.response(await operators.answerWhole(request))) }
            } else if RealtimeEndpoint.serves(request) {
                calls.answer(request, reply: reply)
            } else {
                side.answer(request, reply: reply)
            }
        }
        board.set(.ready)
        await service.serve(isAskedInDrain: false) { server.report(to: $0) }
        board.set(.draining)
        logger.info("streamer draining")
        try await server.drain(closing: channel)
        for ticker in tickers { ticker.cancel() }
        await live.stop()
        recorder.tick(isLast: true)
        await side.finishRecording()
        await calls.finishRecording()
        await storage.lease.compareAges()
        await bus.close()
        await missedEndRecorder.finish()
        await redis?.close()
        await storage.close()
    }

    /// The bus that all processes of the host share without Redis.
    private func busOfHost(
        _ process: ProcessIdentity, _ clock: any Clock, _ identifiers: any IdentifierSource,
        _ board: Scoreboard
    ) throws -> (any BusLog, any Bus) {
        let log = try SQLiteBusLog.open(
            file: settings.busFile, bell: bell(), process: process, identifiers: identifiers,
            scoreboard: board, logger: logger)
        let bus = try SQLiteBus.open(
            file: settings.busFile, bell: settings.bellSocket, process: process,
            identifiers: identifiers, clock: clock, logger: logger)
        log.watch { bus.isWritten }
        return (log, bus)
    }

    private func surroundings(
        of endpoint: RealtimeEndpoint, _ storage: RealtimeStorage, _ clock: any Clock,
        _ identifiers: any IdentifierSource
    ) throws -> RealtimeCalls.Surroundings {
        RealtimeCalls.Surroundings(
            endpoint: endpoint, storage: storage, route: try UpstreamRoute(settings),
            places: limits(),
            limits: SocketRelay.Limits(
                silence: settings.idleTimeout, patience: min(settings.idleTimeout, 30_000)),
            microseconds: { clock.monotonicMicroseconds() },
            spread: { identifiers.number(in: $0) }, makeMask: { Randomness.bytes(4) })
    }

    private func limits() -> FanOut.Limits {
        // Many users may share an address, but not everybody.
        FanOut.Limits(
            perUser: settings.maxStreamsPerUser,
            perAddress: max(settings.maxStreamsPerUser, settings.maxStreams / 10),
            total: settings.maxStreams)
    }

    // MARK: - The service manager

    private func listener() throws -> Int32 {
        if let given = service.descriptor(named: "streamer") { return given }
        let listener = try Sockets.listener(at: settings.streamerSocket)
        chmod(settings.streamerSocket, 0o660)
        return listener
    }

    private func bell() -> SQLiteBusLog.Bell {
        service.descriptor(named: "bell").map { .descriptor($0) } ?? .path(settings.bellSocket)
    }
}
