// Sessions of which all of one user end in one step.

extension Migrations {
    /// A session of the release before is of the first generation.
    @Sendable static func generations(_ dialect: Dialect) -> [String] {
        [
            "ALTER TABLE users ADD COLUMN session_generation \(dialect.integer) NOT NULL DEFAULT 0",
            "ALTER TABLE sessions ADD COLUMN generation \(dialect.integer) NOT NULL DEFAULT 0",
        ]
    }
}
