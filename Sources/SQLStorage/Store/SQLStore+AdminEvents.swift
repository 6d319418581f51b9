package import ProxyGPT

// The operator's view of events, chats and processes. Events are read in parts, and between two
// parts the loop takes a turn, with which the snapshot ends.

extension SQLStore {
    package func events(_ scan: EventScan) async throws -> EventPage {
        let (part, rest) = try await database.part(of: scan)
        let order: SQL = scan.newestFirst ? "DESC" : "ASC"
        let rows = try await database.query(
            """
            SELECT \(unsafe: EventColumn.list()) FROM events
            WHERE id >= \(part.start) AND id < \(part.end) AND \(scan.filter.condition)
            ORDER BY id \(order)
            """)
        return EventPage(events: try rows.map(EventRecord.init(row:)), rest: rest)
    }

    package func events(ids: [String]) async throws -> [EventRecord] {
        let rows = try await database.query(
            """
            SELECT \(unsafe: EventColumn.list()) FROM events WHERE id IN (\(list: ids)) ORDER BY id
            """)
        return try rows.map(EventRecord.init(row:))
    }

    package func eventIDs(
        from start: String, limit: Int
    ) async throws -> [(id: String, hasEnded: Bool)] {
        await database.takeTurn()
        let rows = try await database.query(
            """
            SELECT id, "end" IS NOT NULL AS has_ended FROM events
            WHERE id >= \(start) ORDER BY id LIMIT \(limit)
            """)
        return try rows.map { (try $0.text("id"), try $0.integer("has_ended") != 0) }
    }

    // MARK: - Names, chats, processes

    package func usernames(_ ids: [User.ID]) async throws -> [User.ID: String] {
        var names: [User.ID: String] = [:]
        var rest = ids[...]
        while !rest.isEmpty {
            let rows = try await database.query(
                "SELECT id, username FROM users WHERE id IN (\(list: Array(rest.prefix(500))))")
            for row in rows { names[try row.id("id")] = try row.text("username") }
            rest = rest.dropFirst(500)
            await database.takeTurn()
        }
        return names
    }

    package func chats(
        of user: User.ID?, in group: Group.ID?, before chat: Chat.ID?, limit: Int
    ) async throws -> [ChatSummary] {
        let rows = try await database.query(
            ChatSummary.query(of: user, in: group, before: chat, limit: limit))
        return try rows.map(ChatSummary.init(row:))
    }

    package func chat(_ id: Chat.ID) async throws -> Chat? {
        let rows = try await database.query(
            "SELECT \(unsafe: Chat.columns) FROM chats WHERE id = \(id) AND \(Chat.isKept)")
        return try rows.first.map(Chat.init(row:))
    }

    package func newestMessages(
        of chat: Chat.ID, before message: Message.ID?, count: Int
    ) async throws -> Range<Int64> {
        let page = Page(place: message.map { .before($0.text) } ?? .newest)
        let range = try await range(of: page, in: "messages", where: "chat_id = \(chat)")
        let rows = try await database.query(
            """
            SELECT MIN(seq) AS first, MAX(seq) AS last FROM (
                SELECT seq FROM messages WHERE chat_id = \(chat) AND \(range)
                ORDER BY seq DESC LIMIT \(count)) AS newest
            """)
        guard let row = rows.first, try row.optionalInteger("first") != nil else { return 0..<0 }
        let (first, last) = (try row.sequence("first"), try row.sequence("last"))
        return first..<last + 1
    }

    package func messages(of chat: Chat.ID, in range: Range<Int64>) async throws -> [Message] {
        await database.takeTurn()
        let messages = try await messages(
            of: chat, "seq >= \(range.lowerBound)", isForward: true, limit: min(200, range.count)
        ).read
        // There may be holes, and newer ones behind.
        return messages.filter { range.contains($0.seq) }
    }
}

extension EventScan.Filter {
    /// The condition on a row. A prefix is compared with SUBSTR: `LIKE` would read its wildcards.
    var condition: SQL {
        let user: SQL = user.map { "AND user_id = \($0)" } ?? ""
        let kind: SQL = kind.map { "AND type = \($0)" } ?? ""
        let path: SQL =
            pathPrefix.map {
                "AND SUBSTR(path, 1, CAST(\($0.unicodeScalars.count) AS INTEGER)) = \($0)"
            } ?? ""
        let status: SQL =
            statuses.map { "AND status BETWEEN \($0.lowerBound) AND \($0.upperBound)" } ?? ""
        return "1 = 1 \(user) \(kind) \(path) \(status)"
    }
}

extension ChatSummary {
    /// The newest chats, of all users or of one, in all groups or in one. BETWEEN is used for the
    /// reason that `Sweep` gives.
    fileprivate static func query(
        of user: User.ID?, in group: Group.ID?, before chat: Chat.ID?, limit: Int
    ) -> SQL {
        let ofUser: SQL = user.map { "AND chats.user_id BETWEEN \($0) AND \($0)" } ?? ""
        let inGroup: SQL = group.map { "AND chats.group_id BETWEEN \($0) AND \($0)" } ?? ""
        let order: SQL =
            user != nil ? "chats.user_id DESC," : group != nil ? "chats.group_id DESC," : ""
        let before: SQL =
            chat.map { "AND chats.seq < (SELECT seq FROM chats WHERE id = \($0))" } ?? ""
        return """
            SELECT \(unsafe: Chat.columns), chats.last_message_seq, users.username,
                groups.name AS group_name
            FROM chats JOIN users ON users.id = chats.user_id
            LEFT JOIN groups ON groups.id = chats.group_id
            WHERE \(Chat.isKept) \(ofUser) \(inGroup) \(before)
            ORDER BY \(order) chats.seq DESC LIMIT \(limit)
            """
    }

    fileprivate init(row: Row) throws {
        self.init(
            chat: try Chat(row: row), username: try row.text("username"),
            groupName: try row.optionalText("group_name"),
            messages: try row.sequence("last_message_seq"))
    }
}
