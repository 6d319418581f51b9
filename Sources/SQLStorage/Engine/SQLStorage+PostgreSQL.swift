internal import EventLoop
package import Logging
package import Metrics
package import ProxyGPT

extension SQLStorage {
    /// Opens whichever database the settings name.
    ///
    /// - Parameters:
    ///   - mayCreate: false for programs that must not make a SQLite file where none is.
    ///   - connections: how many this process has to PostgreSQL.
    ///   - prepares: false where a pooler of transactions stands before PostgreSQL.
    ///   - isPassing: true for a program that is no part of the service, and not counted with it.
    ///   - mayBeIncomplete: true for the one that moves an installation to PostgreSQL.
    ///   - isBackground: true for a program that writes much and must not delay the service: it
    ///     checkpoints
    ///     the WAL often, so that no checkpoint takes long.
    /// - Throws: as `open(file:…)`.
    package static func open(
        _ address: DatabaseAddress, mayCreate: Bool = true, connections: Int,
        prepares: Bool = true, isPassing: Bool = false, mayBeIncomplete: Bool = false,
        isBackground: Bool = false,
        process: ProcessIdentity,
        clock: any Clock, identifiers: any IdentifierSource, eventDays: Int64 = 30,
        scoreboard: Scoreboard? = nil, logger: Logger
    ) async throws -> SQLStorage {
        switch address {
        case .sqlite(let file):
            var tuning = Tuning()
            if isBackground { tuning.checkpointPages = Writer.checkpointPagesInBackground }
            return try open(
                file: file, mayCreate: mayCreate, process: process, clock: clock,
                eventDays: eventDays, scoreboard: scoreboard, logger: logger, tuning: tuning)
        case .postgreSQL(let address):
            var configuration = PostgresPool.Configuration(address: address, size: connections)
            configuration.prepares = prepares
            configuration.countsProcesses = !isPassing
            configuration.mayBeIncomplete = mayBeIncomplete
            return try await open(
                configuration, process: process, clock: clock, identifiers: identifiers,
                eventDays: eventDays, scoreboard: scoreboard, logger: logger, tuning: Tuning())
        }
    }

    static func open(
        _ configuration: PostgresPool.Configuration, process: ProcessIdentity, clock: any Clock,
        identifiers: any IdentifierSource, eventDays: Int64 = 30, scoreboard: Scoreboard? = nil,
        logger: Logger, tuning: Tuning
    ) async throws -> SQLStorage {
        if let problem = PostgresHandle.problem(with: configuration.address) {
            throw OpenError.invalidAddress(problem)
        }
        let configuration = configuration.withTimeoutOfAddress
        let start = StartCheck()
        let pool = PostgresPool(configuration, identifiers: identifiers, logger: logger) {
            connection in
            if configuration.prepares, !start.isDone {
                try await PostgresPooler.check(connection, at: configuration.address)
                start.isDone = true
            }
            try await PostgresSession.prepare(connection, configuration)
        }
        do {
            try await pool.start()
            try await PostgresSchema(pool, logger).migrate(tuning.migrations)
            if configuration.countsProcesses {
                let room = try await PostgresRoom.look(pool, connections: configuration.size)
                logger.info("database connections", metadata: room.metadata)
                try room.check()
            }
            if !configuration.mayBeIncomplete {
                let moves = PostgresStatement("SELECT source FROM moves WHERE ended_at IS NULL")
                guard try await pool.run(moves).rows.isEmpty else { throw OpenError.incomplete }
            }
        } catch {
            await pool.close()
            throw error
        }
        let wakeup = LoopWakeup()
        let queue = WriteQueue(wakeup)
        let writer = PostgresEventWriter(
            pool, queue: queue, wakeup: wakeup, process: process.id, scoreboard: scoreboard,
            logger: logger)
        EventLoop.spawn { await writer.serve() }
        let database = PostgresDatabase(pool, dialect: tuning.dialect, logger: logger)
        let urgent = PostgresDatabase(
            pool, dialect: tuning.dialect, isUrgent: true, logger: logger)
        return SQLStorage(
            store: SQLStore(
                measured(database, scoreboard), process: process.id,
                turns: Turns(limit: configuration.waitLimit)),
            events: EventWriter(queue, scoreboard: scoreboard, logger: logger),
            lease: ProcessLease(
                process, database: urgent, clock: clock, eventDays: eventDays, logger: logger,
                renewsByItself: tuning.renewsByItself),
            database: database, connections: { await pool.connections }
        ) {
            await withUnsafeContinuation { queue.close($0) }
            await pool.close()
        }
    }
}

/// Whether the checks that are made once, at the start, were made.
@EventLoop private final class StartCheck {
    var isDone = false

    nonisolated init() {}
}

/// How a PostgreSQL server and its database are.
package struct ServerHealth: Sendable {
    package let version: String
    package let schemaVersion: Int64
    package let bytes: Int64
    /// Connections to the server, those of other clients included, and how many it allows.
    package let used: Int64
    package let allowed: Int64
    /// The most connections that the living processes open.
    package let room: PostgresRoom
    /// Locks of other sessions that writes may have to wait for, a sentence each.
    package let locks: [String]
}

extension SQLStorage {
    /// Asks the server for its state. For PostgreSQL alone.
    ///
    /// - Parameter connections: how many each process of the service has.
    package func examineServer(connections: Int) async throws -> ServerHealth {
        let rows = try await database.query(
            """
            SELECT current_setting('server_version') AS version,
                (SELECT MAX(version) FROM schema_migrations) AS schema_version,
                pg_database_size(current_database()) AS bytes,
                (SELECT COUNT(*) FROM pg_stat_activity WHERE backend_type = 'client backend')
                    AS used,
                CAST(current_setting('max_connections') AS BIGINT)
                    - CAST(current_setting('superuser_reserved_connections') AS BIGINT) AS allowed
            """)
        guard let row = rows.first else {
            throw DatabaseError(.other, "no answer", during: "examine server")
        }
        return ServerHealth(
            version: try row.text("version"), schemaVersion: try row.integer("schema_version"),
            bytes: try row.integer("bytes"), used: try row.integer("used"),
            allowed: try row.integer("allowed"),
            room: try PostgresRoom.read(
                try await database.query(PostgresRoom.question), connections: connections,
                newcomers: 0),
            locks: try await foreignLocks())
    }
}
