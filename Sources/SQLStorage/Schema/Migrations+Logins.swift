// Tries to log in that are under way, beside those that have failed.

extension Migrations {
    @Sendable static func logins(_ dialect: Dialect) -> [String] {
        ["pending", "pending_at"].map { column in
            """
            ALTER TABLE login_failures
                ADD COLUMN \(column) \(dialect.integer) NOT NULL DEFAULT 0
            """
        }
    }
}
