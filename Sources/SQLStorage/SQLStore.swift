internal import ProxyGPT

/// The store over a SQL database: each rule once, for SQLite and PostgreSQL.
package struct SQLStore: Store {
    let database: any Database
    /// Whose replies this process runs: its own id.
    let process: String

    package init(_ database: any Database, process: String) {
        self.database = database
        self.process = process
    }
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
