internal import EventLoop
internal import Logging
internal import ProxyGPT

/// PostgreSQL as a database: single reads on any connection, transactions on a borrowed one.
final class PostgresDatabase: Database {
    private let pool: PostgresPool
    let dialect: Dialect
    /// Whether its statements go before all others that wait for a connection.
    private let isUrgent: Bool
    private let logger: Logger

    init(_ pool: PostgresPool, dialect: Dialect, isUrgent: Bool = false, logger: Logger) {
        self.pool = pool
        self.dialect = dialect
        self.isUrgent = isUrgent
        self.logger = logger
    }

    /// A commit that was reported to its caller is visible to every statement that is sent
    /// afterwards.
    func query(_ sql: SQL) async throws -> [Row] {
        let statement = PostgresStatement(sql)
        var retries = PostgresRetries(within: pool.grace)
        while true {
            do {
                return try await pool.run(statement, isUrgent: isUrgent).rows
            } catch let error as DatabaseError {
                // Lost with its connection: a read may be repeated.
                guard error.kind == .connection, retries.allow(error) else {
                    throw clientFailure(for: error)
                }
            }
        }
    }

    func transaction<T: Sendable>(
        _ body: @Sendable @escaping (any Transaction) async throws -> T
    ) async throws -> T {
        var retries = PostgresRetries(within: pool.grace)
        while true {
            do {
                return try await runOnce(body)
            } catch let error as DatabaseError {
                guard retries.allow(error) else { throw clientFailure(for: error) }
            }
        }
    }

    private func runOnce<T: Sendable>(
        _ body: @Sendable (any Transaction) async throws -> T
    ) async throws -> T {
        let connection = try await pool.lease(isUrgent: isUrgent)
        let transaction = await PostgresTransaction(
            connection, dialect: dialect, limit: pool.answerLimit)
        do {
            let value = try await body(transaction)
            try await transaction.commit()
            await pool.giveBack(connection)
            return value
        } catch {
            await transaction.rollBack()
            await pool.giveBack(connection)
            // A body may throw its own error instead of the one of its query.
            if let cause = await transaction.failure, !(error is DatabaseError),
                cause.kind == .connection
            {
                throw cause
            }
            throw error
        }
    }

    private func clientFailure(for error: DatabaseError) -> any Error {
        switch error.kind {
        // The pool logs once how long the server is away.
        case .connection, .closed, .uniqueViolation, .constraint: break
        default:
            logger.warning("statement failed", metadata: ["storage.error": "\(error)"])
        }
        return error.clientFailure
    }
}

/// Counts how often something was run again after a conflict or a lost connection.
struct PostgresRetries {
    /// A server that takes longer to fail is not asked again.
    private let limit: Int64
    private let start = monotonicMilliseconds()
    private var counts: [DatabaseError.Kind: Int] = [:]

    /// - Parameter limit: milliseconds.
    init(within limit: Int64) {
        self.limit = limit
    }

    /// Whether a statement or transaction that failed in this way may be run once more. It has left
    /// nothing behind.
    mutating func allow(_ error: DatabaseError) -> Bool {
        let limit =
            switch error.kind {
            case .conflict: 5
            // All connections may be dead, and each is found out alone.
            case .connection: monotonicMilliseconds() - start < limit ? 10 : 0
            // Another transaction has just added or removed a row that the body's own reads did not
            // see yet: run again, the body finds it and refuses with the right message.
            case .uniqueViolation, .constraint: 1
            default: 0
            }
        let count = counts[error.kind, default: 0]
        counts[error.kind] = count + 1
        return count < limit
    }
}

/// The statements of one transaction on a borrowed connection.
@EventLoop final class PostgresTransaction: Transaction {
    private nonisolated static let begin = PostgresStatement(
        "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE")
    private nonisolated static let commit = PostgresStatement("COMMIT")
    private nonisolated static let rollBack = PostgresStatement("ROLLBACK")
    /// How many statements without a result are gathered at most.
    private nonisolated static let batchSize = 100

    private let connection: PostgresConnection
    nonisolated let dialect: Dialect
    private let limit: Int64
    /// Statements to be sent with the next one whose result is awaited.
    private var gathered: [PostgresStatement] = []
    private var hasBegun = false
    private var hasEnded = false
    private(set) var failure: DatabaseError?

    init(_ connection: PostgresConnection, dialect: Dialect, limit: Int64) {
        self.connection = connection
        self.dialect = dialect
        self.limit = limit
    }

    @EventLoop func query(_ sql: SQL) async throws -> [Row] {
        try await run(PostgresStatement(sql)).rows
    }

    @EventLoop @discardableResult
    func execute(_ sql: SQL) async throws -> Int {
        try await run(PostgresStatement(sql)).count
    }

    @EventLoop func send(_ sql: SQL) async throws {
        guard !hasEnded else { throw DatabaseError.transactionEnded }
        if gathered.count < Self.batchSize {
            gathered.append(PostgresStatement(sql))
        } else {
            _ = try await run(PostgresStatement(sql))
        }
    }

    @EventLoop func lock(_ sql: SQL) async throws {
        try await send(sql)
    }

    nonisolated func yieldsToOthers() {}

    private func run(_ statement: PostgresStatement) async throws -> PostgresAnswer {
        guard !hasEnded else { throw DatabaseError.transactionEnded }
        guard let answer = try await flush(with: statement).last else {
            throw DatabaseError(.other, "no answer", during: statement.text)
        }
        return answer
    }

    /// Sends the gathered statements and one more, all in one round trip.
    private func flush(with last: PostgresStatement) async throws -> [PostgresAnswer] {
        let statements = (hasBegun ? [] : [Self.begin]) + gathered + [last]
        hasBegun = true
        gathered = []
        do {
            return try await connection.run(statements, within: limit)
        } catch let error as DatabaseError {
            failure = failure ?? error
            throw error
        }
    }

    /// Commits the transaction; throws `uncertain` when it is not known whether that succeeded.
    func commit() async throws {
        hasEnded = true
        guard hasBegun || !gathered.isEmpty else { return }
        // Lost before: no COMMIT is sent.
        if let failure = connection.failure { throw failure }
        let answers: [PostgresAnswer]
        do {
            answers = try await flush(with: Self.commit)
        } catch let error as DatabaseError where error.leavesCommitOpen {
            throw DatabaseError(.uncertain, error.message, during: "COMMIT")
        }
        hasBegun = false
        // The server answers a COMMIT after a failed statement with a ROLLBACK.
        guard answers.last?.tag == "COMMIT" else {
            throw failure
                ?? DatabaseError(.other, "nothing could be committed", during: "COMMIT")
        }
    }

    /// Rolls the transaction back.
    func rollBack() async {
        hasEnded = true
        guard hasBegun, connection.failure == nil else { return }
        hasBegun = false
        do {
            _ = try await connection.run([Self.rollBack], within: limit)
        } catch {
            // An open transaction ends with the connection.
            connection.close()
        }
    }
}

extension DatabaseError {
    /// Whether the result of a COMMIT that failed in this way is unknown.
    fileprivate var leavesCommitOpen: Bool {
        (kind == .connection || kind == .closed) && !isRefusal
    }
}
