// Brings the schema of a PostgreSQL database up to date, one process at a time.
//
// The version is read first, without a lock: where there is nothing to do no process waits for
// another. The lock is tried and not waited for, so that the log can name its holder meanwhile.

internal import EventLoop
internal import Logging
internal import ProxyGPT

/// The schema, which the process that starts first brings up to date.
struct PostgresSchema {
    /// The result of a step.
    private enum Step {
        case done
        /// Another session has a lock that the step needs.
        case blocked
    }

    /// The number of the lock that migrations take; any number that no other program uses.
    static let lock: Int64 = 0x5047_5054_4D49_4752
    /// Milliseconds that a migration may take, and the wait for locks of other sessions.
    private static let limit: Int64 = 3_600_000
    /// Milliseconds from one try to the next, and from one line about them to the next.
    private static let pause: Int64 = 250
    private static let lineInterval: Int64 = 10_000

    private let pool: PostgresPool
    private let logger: Logger

    init(_ pool: PostgresPool, _ logger: Logger) {
        self.pool = pool
        self.logger = logger
    }

    func migrate(_ migrations: [Migration]) async throws {
        let connection = try await pool.lease()
        do {
            try await migrate(connection, migrations)
        } catch {
            await connection.close()
            throw error
        }
        await pool.giveBack(connection)
    }

    private func migrate(
        _ connection: PostgresConnection, _ migrations: [Migration]
    ) async throws {
        let start = monotonicMilliseconds()
        var nextLine = start
        while let migration = try await missing(connection, migrations) {
            if try await step(connection, migration) == .done { continue }
            let now = monotonicMilliseconds()
            guard now &- start < Self.limit else {
                throw DatabaseError(.busy, "a lock of others did not end", during: "migrate")
            }
            if now >= nextLine {
                nextLine = now &+ Self.lineInterval
                let holders = try await holders(connection)
                logger.warning(
                    "migration waits for a lock",
                    metadata: [
                        "migration.version": "\(migration.version)",
                        "lock.holders": "\(holders)",
                        "lock.seconds": "\((now &- start) / 1000)",
                    ])
            }
            await EventLoop.sleep(milliseconds: Self.pause)
        }
    }

    /// The first step that is missing.
    private func missing(
        _ connection: PostgresConnection, _ migrations: [Migration]
    ) async throws -> Migration? {
        let known = try await run(
            connection, "SELECT to_regclass('schema_migrations') IS NOT NULL AS is_there")
        var found: Int64 = 0
        if try known.first?.integer("is_there") != 0 {
            let rows = try await run(
                connection, "SELECT COALESCE(MAX(version), 0) AS version FROM schema_migrations")
            found = try rows.first?.integer("version") ?? 0
        }
        return try Migrations.pending(after: found, in: migrations).first
    }

    /// Does a step in a transaction with its record, unless another process has done it meanwhile.
    /// The lock ends with the transaction, so that it works through poolers too.
    private func step(
        _ connection: PostgresConnection, _ migration: Migration
    ) async throws -> Step {
        do {
            let locked = try await run(
                connection, "BEGIN", "SET LOCAL statement_timeout = 0",
                "SELECT pg_try_advisory_xact_lock(\(unsafe: String(Self.lock))) AS is_ours")
            guard try locked.first?.integer("is_ours") == 1 else {
                try await run(connection, "ROLLBACK")
                return .blocked
            }
            try await run(connection, SQL(unsafe: Migrations.record(.postgreSQL)))
            let done = try await run(
                connection,
                "SELECT 1 AS one FROM schema_migrations WHERE version >= \(migration.version)")
            if done.isEmpty {
                for statement in migration.statements(.postgreSQL) {
                    try await run(connection, SQL(unsafe: statement))
                }
                try await run(
                    connection,
                    """
                    INSERT INTO schema_migrations (version, name)
                    VALUES (\(migration.version), \(migration.name))
                    """)
            }
            try await run(connection, "COMMIT")
            return .done
        } catch let error as DatabaseError where error.kind == .locked {
            try await run(connection, "ROLLBACK")
            return .blocked
        } catch {
            throw MigrationError.failed(
                version: migration.version, name: migration.name, cause: error)
        }
    }

    /// The session that has the lock, or that has held our tables for longer than the limit.
    private func holders(_ connection: PostgresConnection) async throws -> String {
        let rows = try await run(
            connection,
            """
            SELECT DISTINCT locks.pid, COALESCE(who.application_name, '') AS name,
                COALESCE(host(who.client_addr), 'local') AS address,
                COALESCE(who.state, 'unknown') AS state,
                COALESCE(CAST(EXTRACT(EPOCH FROM clock_timestamp() - who.xact_start) AS BIGINT), 0)
                    AS seconds
            FROM pg_locks AS locks LEFT JOIN pg_stat_activity AS who ON who.pid = locks.pid
            WHERE locks.granted AND locks.pid <> pg_backend_pid()
                AND locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())
                AND ((locks.locktype = 'advisory'
                        AND CAST(locks.classid AS BIGINT) = \(Self.lock >> 32)
                        AND CAST(locks.objid AS BIGINT) = \(Self.lock & 0xFFFF_FFFF))
                    OR locks.relation IN (SELECT oid FROM pg_class
                        WHERE relnamespace = CAST(current_schema() AS regnamespace)))
            LIMIT 5
            """)
        let texts = try rows.map { row in
            "process \(try row.integer("pid")) (\(try row.text("name")), "
                + "\(try row.text("address")), \(try row.text("state")) "
                + "for \(try row.integer("seconds")) s)"
        }
        return texts.isEmpty ? "nobody to be seen" : texts.joined(separator: ", ")
    }

    @discardableResult
    private func run(
        _ connection: PostgresConnection, _ statements: SQL...
    ) async throws -> [Row] {
        try await connection.run(statements.map(PostgresStatement.init), within: Self.limit)
            .last?.rows ?? []
    }
}
