package import ProxyGPT

extension SQLStore: MissedEndStore {
    package func note(missedEnds ids: [Message.ID], now: Timestamp) async throws {
        let moment = database.dialect.moment(now)
        try await database.transaction { transaction in
            try await transaction.send(
                """
                INSERT INTO missed_ends (message_id, created_at)
                SELECT id, \(moment) FROM messages
                WHERE id IN (\(list: ids))
                    AND (SELECT COUNT(*) FROM missed_ends) < \(MissedEnds.limit)
                ON CONFLICT (message_id) DO NOTHING
                """)
        }
    }

    package func missedEnds(now: Timestamp) async throws -> MissedEnds {
        let rows = try await database.query(
            """
            SELECT missed_ends.message_id, missed_ends.created_at, messages.chat_id,
                messages.user_id, \(database.dialect.moment(now)) AS moment
            FROM missed_ends LEFT JOIN messages
                ON messages.id = missed_ends.message_id
                AND messages.state NOT IN ('pending', 'streaming')
            ORDER BY missed_ends.created_at LIMIT \(MissedEnds.limit)
            """)
        guard let first = rows.first else { return MissedEnds(ids: [], frames: [], age: 0) }
        let frames = try rows.compactMap { row -> StreamFrame? in
            guard let chat: Chat.ID = try row.optionalID("chat_id") else { return nil }
            return StreamFrame(
                chatID: chat, messageID: try row.id("message_id"), userID: try row.id("user_id"),
                .ended)
        }
        let age =
            try first.timestamp("moment").milliseconds
            &- first.timestamp("created_at").milliseconds
        return MissedEnds(ids: try rows.map { try $0.id("message_id") }, frames: frames, age: age)
    }

    package func forget(missedEnds ids: [Message.ID]) async throws {
        try await database.transaction { transaction in
            try await transaction.send(
                "DELETE FROM missed_ends WHERE message_id IN (\(list: ids))")
        }
    }
}
