package import ProxyGPT

extension SQLStore {
    /// By ranges of the key alone, so that no step looks at what others have removed: in PostgreSQL
    /// removed rows stand in the index until the next vacuum. Several processes may walk at once;
    /// each sees the whole range.
    package func removeEvents(
        from start: String, before end: String, limit: Int
    ) async throws -> EventRemoval {
        let rows = try await database.query(
            """
            SELECT id FROM events WHERE id >= \(start) AND id < \(end)
            ORDER BY id LIMIT 1 OFFSET \(limit)
            """)
        let rest = try rows.first?.text("id")
        let count = try await database.transaction { transaction in
            try await transaction.execute(
                "DELETE FROM events WHERE id >= \(start) AND id < \(rest ?? end)")
        }
        return EventRemoval(count: count, rest: rest)
    }
}
