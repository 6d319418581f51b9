// Groups and users that have been deleted, whose rows go little by little.

extension Migrations {
    @Sendable static func deletions(_ dialect: Dialect) -> [String] {
        [
            """
            CREATE TABLE deletions (
                id \(dialect.text) NOT NULL PRIMARY KEY,
                kind \(dialect.text) NOT NULL
            )\(dialect.small)
            """
        ]
    }
}
