// The common start and end of a worker and a streamer: the database, Redis, the shared metrics, and
// the record of ends that the bus did not take.

package import Credentials
package import EventLoop
package import Gateway
internal import Logging
package import Metrics
package import ProxyGPT
package import RedisStorage
package import SQLStorage

/// The storage of a serving process, with its identity and its metrics.
@EventLoop package final class ServiceStorage {
    package let clock: SystemClock
    package let identifiers: RandomIdentifiers
    package let process: ProcessIdentity
    package let scoreboard: Scoreboard
    package let sql: SQLStorage
    /// Nil where the settings name no Redis.
    package let redis: RedisStorage?
    private let scoreboards: ScoreboardDirectory
    private let settings: Settings
    private let logger: Logger
    private var bus: (any Bus)?
    private var missedEnds: MissedEndRecorder?

    /// Opens what the settings name.
    /// - Parameter kind: the label of this process in the metrics.
    package init(_ service: ServiceProcess, kind: ProcessKind) async throws {
        settings = service.settings
        logger = service.logger
        let clock = SystemClock()
        self.clock = clock
        identifiers = RandomIdentifiers(clock: clock)
        process = try ProcessIdentity.current(
            id: identifiers.next(), stateDirectory: settings.stateDirectory, digest: sha256)
        scoreboards = ScoreboardDirectory(
            settings.scoreboards, MetricRegistry(routes: Endpoints.countedRoutes))
        let (scoreboard, problem) = scoreboards.makeScoreboard(
            kind, name: process.id, startedAt: clock.now().milliseconds * 1000)
        self.scoreboard = scoreboard
        if let problem {
            logger.warning("metrics are not shared", metadata: ["error": "\(problem)"])
        }
        EventLoop.observeTurns {
            scoreboard.observe(scoreboard.registry.loopTurn, scoreboard.kind.rawValue, $0)
        }
        sql = try await SQLStorage.open(
            settings.database, connections: settings.databaseConnections,
            prepares: settings.preparesStatements, process: process, clock: clock,
            identifiers: identifiers, eventDays: settings.eventDays, scoreboard: scoreboard,
            logger: logger)
        let installation = try await sql.installation(orElse: .random())
        redis = RedisStorage(
            settings, keys: installation.keys, identifiers: identifiers, logger: logger)
        await redis?.start()
    }

    /// Answers load balancers and operators.
    package func operators(bus: any Bus) -> OperatorEndpoint {
        OperatorEndpoint(
            readiness: Readiness(storage: sql, bus: bus, settings: settings), boards: scoreboards,
            version: Product.version, now: { [clock] in clock.now() },
            pause: { await EventLoop.sleep(milliseconds: 5) })
    }

    /// Begins to renew the process's lease and to reap expired processes.
    /// - Parameters:
    ///   - bus: carries this process's frames; `close` closes it.
    ///   - replyWasClosed: called for each message that was closed in the place of a dead process.
    package func start(
        bus: any Bus, replyWasClosed: @escaping @EventLoop (Message) -> Void
    ) async throws {
        self.bus = bus
        sql.lease.replyWasClosed = replyWasClosed
        sql.lease.bus = bus
        try await sql.lease.start()
        missedEnds = MissedEndRecorder(bus: bus, store: sql.store, clock: clock, logger: logger)
    }

    /// The periodic work of a serving process.
    package func tickers() -> [Task<Void, Never>] {
        [
            ServiceProcess.tick(every: MissedEndRecorder.interval) { [self] in
                await missedEnds?.tick()
            },
            ServiceProcess.tick(every: 1000) { [self] in
                scoreboard.measureProcess()
                await sql.note(in: scoreboard)
                if redis != nil, let bus {
                    scoreboard.set(scoreboard.registry.redisUp, isUp: await bus.isReachable())
                }
            },
        ]
    }

    /// Sends and stores the remaining frames and rows, and closes the connections. Called last.
    package func close() async {
        await sql.lease.compareAges()
        await bus?.close()
        await missedEnds?.finish()
        await redis?.close()
        await sql.close()
    }
}
