// Usage by day, which outlives the events that it is counted from; and how often PostgreSQL looks at
// the tables that grow without end.

extension Migrations {
    @Sendable static func usage(_ dialect: Dialect) -> [String] {
        [
            // Of calls without a user or a model the text is empty; a model may be empty itself.
            """
            CREATE TABLE usage_days (
                day \(dialect.integer) NOT NULL,
                user_id \(dialect.text) NOT NULL,
                model \(dialect.text) NOT NULL,
                has_model \(dialect.integer) NOT NULL,
                calls \(dialect.integer) NOT NULL,
                prompt_tokens \(dialect.integer) NOT NULL,
                completion_tokens \(dialect.integer) NOT NULL,
                PRIMARY KEY (day, user_id, model, has_model)
            )\(dialect.small)
            """,
            // One row: events before `folded` are in `usage_days`, those before `removed` may be gone.
            """
            CREATE TABLE usage_progress (
                id \(dialect.integer) NOT NULL PRIMARY KEY,
                folded \(dialect.text) NOT NULL,
                removed \(dialect.text) NOT NULL
            )\(dialect.small)
            """,
            "INSERT INTO usage_progress (id, folded, removed) VALUES (1, '', '')",
        ] + (dialect.hasServer ? autovacuum : [])
    }

    /// By default a table is vacuumed when a fifth of it has changed: of a hundred million rows that is
    /// once in months, with hours of work at once.
    private static var autovacuum: [String] {
        let factors = """
            autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_insert_scale_factor = 0.02,
            autovacuum_analyze_scale_factor = 0.01
            """
        // A vacuum of PostgreSQL's own gives way to whoever has waited for a second; nobody reads or
        // writes less meanwhile.
        return ["SET LOCAL lock_timeout = '5s'"]
            + ["events", "messages"].map { "ALTER TABLE \($0) SET (\(factors))" }
            + ["SET LOCAL lock_timeout = '500ms'"]
    }
}
