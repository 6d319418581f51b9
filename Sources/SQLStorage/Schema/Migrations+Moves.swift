// Of a move from one database to another, in both: where from, and whether all has arrived.

extension Migrations {
    @Sendable static func moves(_ dialect: Dialect) -> [String] {
        [
            """
            CREATE TABLE moves (
                source \(dialect.text) NOT NULL PRIMARY KEY,
                began_at \(dialect.integer) NOT NULL,
                ended_at \(dialect.integer)
            )\(dialect.small)
            """
        ]
    }
}
