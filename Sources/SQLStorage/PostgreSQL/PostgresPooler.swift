// Whether a pooler stands between this process and PostgreSQL that gives each transaction another
// connection of the server, as PgBouncer does with pool_mode = transaction. Statements prepared on
// one are not there on the next, and settings of a session belong to other clients.

internal import EventLoop
internal import ProxyGPT

/// Finds a pooler of transactions, before anything is prepared.
enum PostgresPooler {
    /// How often two connections are compared, and how long an answer may take, in milliseconds.
    private static let rounds = 4
    private static let limit: Int64 = 3000

    private static let process = PostgresStatement("SELECT pg_backend_pid() AS process")

    /// Throws `transactionPooling` where there is one.
    @EventLoop static func check(
        _ connection: PostgresConnection, at address: Secret
    ) async throws {
        // A pooler gives its clients process numbers of its own.
        let first = try await served(connection)
        guard first != Int64(connection.serverProcess) else { return }
        let handle = try await PostgresPool.connector.run { try PostgresHandle.connect(address) }
        let other = try PostgresConnection(handle)
        defer { other.close() }
        for _ in 0..<rounds {
            let before = try await served(connection)
            // While the other connection holds the server process that served us last, another one
            // must serve us.
            _ = try await answers(of: other, to: [PostgresStatement("BEGIN"), process])
            let after = try await served(connection)
            _ = try await answers(of: other, to: [PostgresStatement("ROLLBACK")])
            guard before == after else { throw SQLStorage.OpenError.transactionPooling }
        }
    }

    /// The process of the server that answers.
    @EventLoop private static func served(_ connection: PostgresConnection) async throws -> Int64 {
        try await answers(of: connection, to: [process]).first?.rows.first?.integer("process") ?? 0
    }

    /// Throws `transactionPooling` where no answer comes in time: the pooler has no second connection to
    /// give.
    @EventLoop private static func answers(
        of connection: PostgresConnection, to statements: [PostgresStatement]
    ) async throws -> [PostgresAnswer] {
        let late = DatabaseError(.connection, "no answer in time", during: "find a pooler")
        let timer = EventLoop.schedule(afterMilliseconds: limit) {
            // In a turn that was long the answer may be there and not be read yet by the task.
            if !connection.isIdle { connection.giveUp(late) }
        }
        defer { timer.cancel() }
        do {
            return try await connection.run(statements, within: limit, prepares: false)
        } catch let error as DatabaseError where error.message == late.message {
            throw SQLStorage.OpenError.transactionPooling
        }
    }
}
