internal import ProxyGPT

/// The store over a SQL database: each rule once, for SQLite and PostgreSQL.
package struct SQLStore: Store {
    let database: any Database
    /// The owner of the replies that this process runs: its own process id.
    let process: String

    /// Nil where no other process locks rows.
    let turns: Turns?

    init(_ database: any Database, process: String, turns: Turns? = nil) {
        self.database = database
        self.process = process
        self.turns = turns
    }

    /// Runs a transaction that locks rows which other transactions lock as well: it waits for the
    /// turns of these rows before it takes a connection.
    ///
    /// - Parameter keys: names of these rows, ASCII and short, in the order that all transactions
    ///   keep to: chats and groups first, then users, then sessions, counters last.
    func transaction<T: Sendable>(
        inTurn keys: String...,
        body: @Sendable @escaping (any Transaction) async throws -> T
    ) async throws -> T {
        try await transaction(inTurn: keys, body: body)
    }

    func transaction<T: Sendable>(
        inTurn keys: [String],
        body: @Sendable @escaping (any Transaction) async throws -> T
    ) async throws -> T {
        guard let turns else { return try await database.transaction(body) }
        return try await turns.run(keys) { [database] in try await database.transaction(body) }
    }
}

/// A row of `counters`, which gives out numbers in the order of commits: a transaction that takes a
/// number holds up all others until it commits.
enum CounterName: String {
    case chats
    case groups
    case revocations

    /// The key of its turns.
    var turn: String { "counter " + rawValue }
}

extension User {
    /// The columns that `init(row:)` reads.
    static let columns = """
        users.id, users.username, users.first_name, users.last_name, users.role,
        users.created_at, users.updated_at
        """

    init(row: Row) throws {
        self.init(
            id: try row.id("id"), username: try row.text("username"),
            firstName: try row.text("first_name"), lastName: try row.text("last_name"),
            role: try row.word("role", or: .user),
            createdAt: try row.timestamp("created_at"), updatedAt: try row.timestamp("updated_at"))
    }
}
