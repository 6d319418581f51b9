// The start of PostgreSQL: each new connection is set up, the schema is brought up to date, and the
// server's connections are counted.

internal import EventLoop
internal import Logging

/// Sets up a new connection.
enum PostgresSession {
    /// The release whose behaviour is known here.
    private static let oldestVersion: Int32 = 150_000

    /// Throws `OpenError` where the server is none that can be used.
    @EventLoop static func prepare(
        _ connection: PostgresConnection, _ limits: PostgresPool.Configuration
    ) async throws {
        guard connection.serverVersion >= oldestVersion else {
            throw SQLStorage.OpenError.serverTooOld(connection.parameter("server_version") ?? "?")
        }
        let encoding = connection.parameter("server_encoding") ?? "unknown"
        guard encoding == "UTF8" else { throw SQLStorage.OpenError.wrongEncoding(encoding) }
        var statements = [PostgresStatement("SELECT pg_is_in_recovery() AS is_standby")]
        if limits.prepares {
            statements.insert(PostgresStatement(settings(limits, ofTransaction: false)), at: 0)
        }
        let answers = try await connection.run(
            statements, within: limits.statementLimit, prepares: false)
        guard try answers.last?.rows.first?.integer("is_standby") == 0 else {
            throw DatabaseError(
                .connection, "the server is a standby, which takes no writes", during: "connect")
        }
        connection.origin = try await PostgresOrigin.read(
            connection, within: limits.statementLimit)
    }

    /// The settings of a session, or of each transaction where sessions belong to other clients.
    ///
    /// Durability may be stronger than usual, with replicas, but not weaker. Compiling statements costs
    /// more than these small ones ever take.
    static func settings(
        _ limits: PostgresPool.Configuration, ofTransaction isLocal: Bool
    ) -> String {
        """
        SELECT set_config('statement_timeout', '\(limits.statementLimit)', \(isLocal)),
            set_config('lock_timeout', '\(limits.lockTimeout)', \(isLocal)),
            set_config('idle_in_transaction_session_timeout', '\(limits.idleLimit)', \(isLocal)),
            set_config('synchronous_commit', CASE current_setting('synchronous_commit')
                WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END, \(isLocal)),
            set_config('jit', 'off', \(isLocal))
        """
    }
}

/// Whether the server has room for the connections of all processes.
package struct PostgresRoom: Sendable {
    /// Connections that the server, the database and the role allow, whichever are the fewest.
    let allowed: Int64
    let allowedBy: String
    /// Processes that are alive, on all hosts, and the one that is about to start.
    let processes: Int64
    let connections: Int

    private var needed: Int64 { processes * Int64(connections) }

    /// Whether all of them have their connections at once.
    package var suffices: Bool { needed <= allowed }
    package var description: String {
        "\(processes) processes of \(connections) connections each (DB_CONNECTIONS) need "
            + "\(needed), PostgreSQL allows \(allowed) (\(allowedBy))"
    }

    // The process of a heartbeat that is 15 s old is dead, see ProcessLease.
    static let question = SQL(
        unsafe: """
            SELECT CAST(current_setting('max_connections') AS BIGINT)
                - CAST(current_setting('superuser_reserved_connections') AS BIGINT) AS server,
                (SELECT datconnlimit FROM pg_database WHERE datname = current_database())
                    AS database,
                (SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user) AS role,
                (SELECT COUNT(*) FROM processes
                    WHERE heartbeat > \(Dialect.postgreSQLClock) - \(ProcessLease.lifetime))
                    AS processes
            """)

    static func look(_ pool: PostgresPool, connections: Int) async throws -> PostgresRoom {
        let answer = try await pool.run(PostgresStatement(question))
        return try read(answer.rows, connections: connections, newcomers: 1)
    }

    /// - Parameter newcomers: processes that are about to start and in no table yet.
    static func read(
        _ rows: [Row], connections: Int, newcomers: Int64
    ) throws -> PostgresRoom {
        guard let row = rows.first else {
            throw DatabaseError(.other, "no answer", during: "count connections")
        }
        var allowed = (try row.integer("server"), "max_connections less those for superusers")
        // -1 is no limit.
        for (name, what) in [
            ("database", "the database's connection limit"),
            ("role", "the role's connection limit"),
        ] {
            if let limit = try row.optionalInteger(name), limit >= 0, limit < allowed.0 {
                allowed = (limit, what)
            }
        }
        return PostgresRoom(
            allowed: allowed.0, allowedBy: allowed.1,
            processes: try row.integer("processes") + newcomers, connections: connections)
    }

    var metadata: Logger.Metadata {
        [
            "database.processes": "\(processes)", "database.connections_each": "\(connections)",
            "database.connections_needed": "\(needed)",
            "database.connections_allowed": "\(allowed)",
        ]
    }

    func check() throws(SQLStorage.OpenError) {
        if !suffices { throw .tooManyConnections(description) }
    }
}
