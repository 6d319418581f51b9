package import ProxyGPT

extension SQLStore {
    package func currentTime(_ now: Timestamp) async throws -> Timestamp {
        try await database.currentTime(now)
    }

    /// Uses ranges of the key alone, so that no step reads rows that another process has removed:
    /// in PostgreSQL removed rows stand in the index until the next vacuum. Several processes may
    /// walk at once; each sees the whole range. Only days whose usage is folded lose their events.
    package func removeEvents(
        from start: String, before end: String, limit: Int
    ) async throws -> EventRemoval {
        let progress = try await database.usageProgress()
        let end = min(end, EventScan.bound(day: progress.day))
        guard EventScan.precedes(start, end) else { return EventRemoval(count: 0, rest: nil) }
        if EventScan.precedes(progress.removed, end) {
            _ = try await database.transaction { transaction in
                try await transaction.execute(
                    "UPDATE usage_progress SET removed = \(end) WHERE removed < \(end)")
            }
        }
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

    /// The number of chats per step: some milliseconds, by the index of messages alone.
    private static let orphanStep = 200

    package func markOrphans(from start: String) async throws -> (chats: Int, rest: String?) {
        // One snapshot: a chat disappears in the transaction that adds its mark, and a deleted chat
        // gets no new message.
        let rows = try await database.query(
            """
            WITH RECURSIVE found (chat_id, step) AS (
                SELECT (SELECT MIN(chat_id) FROM messages WHERE chat_id > \(start)), 1
                UNION ALL
                SELECT (SELECT MIN(chat_id) FROM messages WHERE chat_id > found.chat_id), step + 1
                FROM found WHERE found.chat_id IS NOT NULL AND step < \(Self.orphanStep))
            SELECT chat_id, EXISTS (SELECT 1 FROM chats WHERE chats.id = found.chat_id)
                OR EXISTS (SELECT 1 FROM deleted_chats WHERE deleted_chats.id = found.chat_id)
                    AS is_known
            FROM found WHERE chat_id IS NOT NULL ORDER BY chat_id
            """)
        let orphans = try rows.filter { try $0.integer("is_known") == 0 }
            .map { try $0.text("chat_id") }
        if !orphans.isEmpty {
            try await database.transaction { transaction in
                for chat in orphans {
                    try await transaction.send(
                        """
                        INSERT INTO deleted_chats (id) VALUES (\(chat))
                        ON CONFLICT (id) DO NOTHING
                        """)
                }
            }
        }
        let isLast = rows.count < Self.orphanStep
        return (orphans.count, isLast ? nil : try rows.last?.text("chat_id"))
    }
}
