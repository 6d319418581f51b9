// The streamer without its process: what serves `/chat/stream` and the WebSockets of the upstream, on a
// loop of connections, and what it reads on the storage loop.

package import EventLoop
package import Gateway
package import Logging
package import Metrics
internal import Credentials
package import ProxyGPT

/// Serves streams and WebSocket calls until it is drained.
@EventLoop package final class StreamingService {
    /// What the service has from outside.
    package struct Dependencies: Sendable {
        package let settings: Settings
        package let store: any Store & RevocationStore & MissedEndStore
        package let events: any EventLog
        package let bus: any Bus
        package let log: any BusLog
        package let operators: OperatorEndpoint
        package let clock: any Clock
        package let identifiers: any IdentifierSource
        package let scoreboard: Scoreboard
        package let logger: Logger

        package init(
            settings: Settings, store: any Store & RevocationStore & MissedEndStore,
            events: any EventLog, bus: any Bus, log: any BusLog, operators: OperatorEndpoint,
            clock: any Clock, identifiers: any IdentifierSource, scoreboard: Scoreboard,
            logger: Logger
        ) {
            self.settings = settings
            self.store = store
            self.events = events
            self.bus = bus
            self.log = log
            self.operators = operators
            self.clock = clock
            self.identifiers = identifiers
            self.scoreboard = scoreboard
            self.logger = logger
        }
    }

    /// Something to be done again and again, so many milliseconds after its last end.
    package struct Chore: Sendable {
        package let interval: Int64
        package let run: @EventLoop @Sendable () async -> Void
    }

    private let recorder: StreamRecorder
    private let storage: StorageGateway
    private let server: StreamServer
    private let live: LiveReader
    private let revocations: RevocationReader
    private let storeWatch: StoreWatch
    private let missedEnds: MissedEndReader
    private var listening: StreamServer.Listening?

    /// Starts the loop of the connections and reads where log and revocations stand, before the first
    /// client can miss a frame.
    package init(_ given: Dependencies) async throws {
        let (settings, clock, logger) = (given.settings, given.clock, given.logger)
        let identifiers = given.identifiers
        recorder = StreamRecorder(
            settings: settings, store: given.store, events: given.events, clock: clock,
            identifiers: identifiers, scoreboard: given.scoreboard, logger: logger)
        let realtime = RealtimeEndpoint(
            settings: settings, clock: clock, recorder: recorder, logger: logger)
        let resolver = FrameResolver(store: given.store)
        let endedMessages = EndedMessages()
        storage = StorageGateway(
            streams: StreamEndpoint(store: given.store, clock: clock, recorder: recorder),
            calls: realtime, operators: given.operators, store: given.store,
            histories: HistoryReader(
                log: given.log, store: given.store, resolver: resolver,
                endedMessages: endedMessages),
            bus: given.bus, logger: logger)
        let watched = WatchedChats()
        // Many users may share an address, but not all users.
        let limits = ConnectionLimits(
            perUser: settings.maxStreamsPerUser,
            perAddress: max(settings.maxStreamsPerUser, settings.maxStreams / 10),
            total: settings.maxStreams)
        server = try await StreamServer.start(
            FanOut.Dependencies(
                storage: storage, watched: watched, limits: limits,
                now: { clock.monotonicMicroseconds() / 1000 },
                jitter: { identifiers.number(in: $0) }, scoreboard: given.scoreboard),
            RealtimeCalls.Dependencies(
                endpoint: realtime, storage: storage, route: try UpstreamRoute(settings),
                places: limits,
                limits: SocketRelay.Limits(
                    idleLimit: settings.idleTimeout,
                    answerTimeout: min(settings.idleTimeout, 30_000)),
                microseconds: { clock.monotonicMicroseconds() },
                jitter: { identifiers.number(in: $0) }, makeMask: { Randomness.bytes(4) }))
        let (fanOut, openCalls) = (server.fanOut, server.calls)
        storeWatch = StoreWatch(
            log: given.log, store: given.store, watched: watched, endedMessages: endedMessages,
            logger: logger
        ) { ended, areNew in fanOut.execute { $0.receive(ended: ended, areNew: areNew) } }
        live = LiveReader(
            log: given.log, resolver: resolver, watched: watched, logger: logger,
            storeWatch: storeWatch
        ) { batch in fanOut.execute { $0.receive(batch) } }
        revocations = RevocationReader(store: given.store, logger: logger) { found in
            fanOut.execute { $0.receive(found) }
            openCalls.execute { $0.receive(found) }
        }
        missedEnds = MissedEndReader(
            bus: given.bus, store: given.store, clock: clock, logger: logger)
        try await revocations.start()
        try await live.start()
    }

    /// What must be done for as long as the service serves.
    package var chores: [Chore] {
        [
            Chore(interval: RevocationReader.interval) { [revocations] in await revocations.poll()
            },
            Chore(interval: StoreWatch.interval) { [storeWatch] in await storeWatch.poll() },
            Chore(interval: MissedEndReader.interval) { [missedEnds] in await missedEnds.poll() },
            Chore(interval: 1000) { [recorder] in recorder.tick() },
        ]
    }

    /// Begins to accept connections at a bound socket.
    package func listen(on listener: Int32) async throws {
        let storage = storage
        listening = try await server.listen(on: listener) { request, reply in
            storage.answer(request, reply: reply)
        }
        // NIO has called listen(2) with a backlog of its own, whatever the socket had.
        try Sockets.setBacklog(of: listener)
    }

    /// Says what is open, from the loop that has it: no answer means that the loop hangs.
    package func report(to answer: @escaping @Sendable (String) -> Void) {
        server.report(to: answer)
    }

    /// Stops accepting, and returns when all streams and calls have ended. Called once.
    package func drain() async throws {
        if let listening { try await server.drain(closing: listening) }
    }

    /// Records what is left, once nothing calls the chores any more. Called last.
    package func finish() async {
        await live.stop()
        recorder.tick(isLast: true)
        await storage.finishRecording()
    }
}
