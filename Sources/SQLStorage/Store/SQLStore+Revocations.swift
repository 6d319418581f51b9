package import ProxyGPT

// Rows that name the users and sessions whose rights may have shrunk, for processes that hold open
// streams. Their numbers come from a counter row, for which every writer waits: so a number is
// never visible before the smaller ones.

extension SQLStore: RevocationStore {
    package func lastRevocation() async throws -> Int64 {
        let rows = try await database.query(
            "SELECT value FROM counters WHERE name = 'revocations'")
        return try rows.first?.integer("value") ?? 0
    }

    package func revocations(
        after number: Int64, limit: Int = 1000
    ) async throws -> [(number: Int64, revocation: Revocation)] {
        let rows = try await database.query(
            """
            SELECT seq, session_id, user_id, chat_id, group_id FROM revocations
            WHERE seq > \(number) ORDER BY seq LIMIT \(limit)
            """)
        return try rows.map { row in
            (
                try row.sequence("seq"),
                Revocation(
                    session: try row.optionalID("session_id"),
                    user: try row.optionalID("user_id"), chat: try row.optionalID("chat_id"),
                    group: try row.optionalID("group_id"))
            )
        }
    }
}

extension Transaction {
    /// Records that rights have shrunk.
    func revoke(_ revocation: Revocation, now: Timestamp) async throws {
        let number = try await next(.revocations)
        try await send(
            """
            INSERT INTO revocations (seq, session_id, user_id, chat_id, group_id, created_at)
            VALUES (\(number), \(revocation.session), \(revocation.user), \(revocation.chat),
                \(revocation.group), \(dialect.moment(now)))
            """)
    }

    /// Takes the next number of a counter, for the statement that follows. Other transactions that
    /// want a number wait for this one, so numbers are committed in order.
    func next(_ counter: CounterName) async throws -> SQL {
        let name = counter.rawValue
        try await send("UPDATE counters SET value = value + 1 WHERE name = \(name)")
        return "(SELECT value FROM counters WHERE name = \(name))"
    }
}
