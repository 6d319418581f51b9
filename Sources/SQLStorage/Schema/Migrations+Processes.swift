// What processes say of themselves beside their heartbeat, and what they leave to others to carry.

extension Migrations {
    /// A host is its machine and its start, and its processes share a monotonic clock: `uptime` is that
    /// clock at the heartbeat, in milliseconds. A process of the release before leaves both out. `missed_ends`
    /// names messages whose end a bus did not take from whoever wrote it. `beats` counts heartbeats: a
    /// database that was put back to an earlier state counts some of them a second time.
    @Sendable static func processes(_ dialect: Dialect) -> [String] {
        [
            "ALTER TABLE processes ADD COLUMN machine_id \(dialect.text)",
            "ALTER TABLE processes ADD COLUMN uptime \(dialect.integer)",
            """
            CREATE TABLE missed_ends (
                message_id \(dialect.text) NOT NULL PRIMARY KEY,
                created_at \(dialect.integer) NOT NULL
            )\(dialect.small)
            """,
            "INSERT INTO counters VALUES ('beats', 0)",
        ]
    }
}
