/// A database as the store sees it: SQLite here, PostgreSQL with the same statements.
package protocol Database: Sendable {
    /// Runs one reading statement on the newest committed state. Holds no snapshot afterwards.
    func query(_ sql: SQL) async throws -> [Row]

    /// Runs `body` as one transaction and returns what it returned once that is committed. When
    /// `body` throws, nothing it wrote remains and its error is thrown on. `body` awaits nothing
    /// but the transaction's own queries.
    func transaction<T: Sendable>(
        _ body: @Sendable @escaping (any Transaction) async throws -> T
    ) async throws -> T
}

/// The statements of one transaction; of no use once its body has returned.
package protocol Transaction {
    /// Runs one statement and returns its rows, those of `RETURNING` included.
    func query(_ sql: SQL) async throws -> [Row]

    /// Runs one statement and returns how many rows it changed.
    @discardableResult
    func execute(_ sql: SQL) async throws -> Int
}

/// Says what the database refused and why. Holds no bound value.
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
        /// Somebody else kept the write lock for too long.
        case busy
        /// The transaction's body waited for something that was not the transaction.
        case suspended
        /// It took longer than it may.
        case interrupted
        /// The transaction or the storage had ended.
        case closed
        case other
    }

    package let kind: Kind
    let message: String
    /// The statement's text, or the call that failed.
    let during: String

    init(_ kind: Kind, _ message: String, during: String) {
        self.kind = kind
        self.message = message
        self.during = during
    }

    package var description: String { "\(message) (during \(during))" }

    static let closed = DatabaseError(.closed, "the storage is closed", during: "enqueue")
    static let transactionEnded = DatabaseError(
        .closed, "the transaction has ended", during: "query")
    static let suspended = DatabaseError(
        .suspended, "the body awaited something other than its transaction", during: "transaction")
}
