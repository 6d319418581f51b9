internal import ProxyGPT

/// A database as the store sees it: SQLite here, PostgreSQL with the same statements.
package protocol Database: Sendable {
    /// Runs one reading statement on the newest committed state. Holds no snapshot afterwards.
    func query(_ sql: SQL) async throws -> [Row]

    /// Runs `body` as one transaction and returns its result once that is committed. When `body`
    /// throws, nothing it wrote remains and its error is thrown on. `body` awaits nothing but the
    /// transaction's own queries, and may be run again after a conflict with another transaction.
    ///
    /// In SQLite transactions run one after the other. In PostgreSQL they run beside one another,
    /// and each statement sees everything that was committed before it (READ COMMITTED): a
    /// transaction that writes a conclusion from its reads first locks the rows it has read.
    func transaction<T: Sendable>(
        _ body: @Sendable @escaping (any Transaction) async throws -> T
    ) async throws -> T

    /// The SQL that differs between the databases.
    var dialect: Dialect { get }
}

extension Database {
    /// The present moment by the database's clock.
    func currentTime(_ now: Timestamp) async throws -> Timestamp {
        guard dialect.clock != nil else { return now }
        return try await query("SELECT \(dialect.moment(now)) AS moment").first?
            .timestamp("moment") ?? now
    }
}

/// The statements of one transaction; of no use once its body has returned.
package protocol Transaction {
    /// Runs one statement and returns its rows, those of `RETURNING` included.
    func query(_ sql: SQL) async throws -> [Row]

    /// Runs one statement and returns how many rows it changed.
    @discardableResult
    func execute(_ sql: SQL) async throws -> Int

    /// Sends a statement without waiting for its result: it runs with the next one, or with the
    /// commit, which saves a round trip. That one then throws its failure.
    func send(_ sql: SQL) async throws

    /// Locks the rows that a SELECT … FOR … names until the end, before the next statement reads.
    /// Does nothing in SQLite, which has one writer at a time.
    func lock(_ sql: SQL) async throws

    /// Marks the transaction as one of many that remove much: the work that remains on the disk is
    /// done in small parts, because other writers wait for it.
    func yieldsToOthers()

    /// The SQL that differs between the databases.
    var dialect: Dialect { get }
}

/// What the database refused, and the reason. Holds no bound value.
package struct DatabaseError: Error, CustomStringConvertible {
    package enum Kind: Sendable {
        /// Another row has the value of a unique column.
        case uniqueViolation
        /// Another constraint: a foreign key, a check, a missing value.
        case constraint
        /// No room on the disk.
        case full
        /// The disk failed, or the file cannot be opened or written.
        case inputOutput
        /// The file's content is none of SQLite's, or broken.
        case damaged
        /// Another process kept the write lock for too long, or the server has no room for more.
        case busy
        /// The server is not there, or was lost before the transaction was to be committed.
        case connection
        /// The server was lost while it committed: the result is not known.
        case uncertain
        /// Other transactions stood in the way; another try may succeed.
        case conflict
        /// The transaction's body waited for something that was not the transaction.
        case suspended
        /// It took longer than it may.
        case interrupted
        /// Another session held a lock for longer than the limit. Nothing was done.
        case locked
        /// The transaction or the storage had ended.
        case closed
        case other
    }

    package let kind: Kind
    let message: String
    /// The statement's text, or the call that failed.
    let during: String
    /// Whether the server itself reported it, before it did anything: the connection is of no use
    /// any more, but nothing of the transaction has remained.
    var isRefusal = false

    init(_ kind: Kind, _ message: String, during: String) {
        self.kind = kind
        self.message = message
        self.during = during
    }

    package var description: String { "\(message) (during \(during))" }

    static let closed = DatabaseError(.closed, "the storage is closed", during: "enqueue")
    static let transactionEnded = DatabaseError(
        .closed, "the transaction has ended", during: "query")
    static let locked = DatabaseError(
        .locked, "others stand before a row that is locked", during: "wait")
    static let suspended = DatabaseError(
        .suspended, "the body awaited something other than its transaction", during: "transaction")
}

extension DatabaseError {
    /// The failure that a caller gets: it may try again, where the disk or the server is at fault.
    /// The error itself has been logged by then.
    var clientFailure: any Error {
        switch kind {
        case .full, .inputOutput, .damaged, .busy:
            Failure(.unavailable, "Nothing can be stored just now.", retryAfter: 5)
        case .connection: Failure.databaseIsAway
        case .locked:
            Failure(.unavailable, "Another client of the database holds a lock.", retryAfter: 1)
        case .conflict, .interrupted:
            Failure(.unavailable, "The database is busy.", retryAfter: 1)
        case .uncertain: Failure.mayHaveBeenDone
        case .uniqueViolation, .constraint, .suspended, .closed, .other: self
        }
    }
}

extension Failure {
    static let databaseIsAway = Failure(
        .unavailable, "The database cannot be reached just now.", retryAfter: 2)
}
