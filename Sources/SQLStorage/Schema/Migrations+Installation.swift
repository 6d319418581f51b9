// What tells one installation from another: one row, which the first process makes.

extension Migrations {
    @Sendable static func installation(_ dialect: Dialect) -> [String] {
        [
            """
            CREATE TABLE installation (
                id \(dialect.integer) NOT NULL PRIMARY KEY,
                name \(dialect.text) NOT NULL,
                secret \(dialect.bytes) NOT NULL
            )\(dialect.small)
            """
        ]
    }
}
