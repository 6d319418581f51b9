internal import EventLoop
package import ProxyGPT

// The operator's view of events, chats and processes. Events are read in parts, and between two
// parts the loop takes a turn, with which the snapshot ends.

extension SQLStore {
    package func events(_ scan: EventScan) async throws -> EventPage {
        let (part, rest) = try await part(of: scan)
        let order: SQL = scan.newestFirst ? "DESC" : "ASC"
        let rows = try await database.query(
            """
            SELECT \(unsafe: EventRecord.columns) FROM events
            WHERE id >= \(part.start) AND id < \(part.end) AND \(scan.filter.condition)
            ORDER BY id \(order)
            """)
        return EventPage(events: try rows.map(EventRecord.init(row:)), rest: rest)
    }

    package func events(ids: [String]) async throws -> [EventRecord] {
        let rows = try await database.query(
            """
            SELECT \(unsafe: EventRecord.columns) FROM events WHERE id IN (\(list: ids)) ORDER BY id
            """)
        return try rows.map(EventRecord.init(row:))
    }

    package func eventIDs(
        from start: String, limit: Int
    ) async throws -> [(id: String, hasEnded: Bool)] {
        await takeTurn()
        let rows = try await database.query(
            """
            SELECT id, "end" IS NOT NULL AS has_ended FROM events
            WHERE id >= \(start) ORDER BY id LIMIT \(limit)
            """)
        return try rows.map { (try $0.text("id"), try $0.integer("has_ended") != 0) }
    }

    /// A use is a call that was passed on, the reply to a prompt, and a request that cost tokens.
    package func usage(_ scan: EventScan) async throws -> UsagePage {
        let (part, rest) = try await part(of: scan)
        let rows = try await database.query(
            """
            SELECT user_id, model, timestamp / 86400000 AS day, COUNT(*) AS calls,
                \(unsafe: Self.sum(of: "prompt_tokens")),
                \(unsafe: Self.sum(of: "completion_tokens"))
            FROM events
            WHERE id >= \(part.start) AND id < \(part.end) AND \(scan.filter.condition)
                AND (type IN ('forward', 'reply') OR (type = 'request'
                    AND (prompt_tokens IS NOT NULL OR completion_tokens IS NOT NULL)))
            GROUP BY user_id, model, timestamp / 86400000
            """)
        let counts = try rows.map { row in
            (
                UsageKey(
                    userID: try row.optionalText("user_id"), model: try row.optionalText("model"),
                    day: try row.integer("day")),
                UsageCount(
                    calls: try row.integer("calls"),
                    promptTokens: try row.integer("prompt_tokens"),
                    completionTokens: try row.integer("completion_tokens"))
            )
        }
        return UsagePage(counts: counts, rest: rest)
    }

    /// Sums a column. SQLite fails where a sum takes more than 64 bits, so no row counts for more than
    /// 2^31 - 1.
    private static func sum(of column: String) -> String {
        """
        SUM(CASE WHEN \(column) > 2147483647 THEN 2147483647
            WHEN \(column) > 0 THEN \(column) ELSE 0 END) AS \(column)
        """
    }

    /// The next part of a walk, as a range of ids, and the walk through the rest.
    private func part(
        of scan: EventScan
    ) async throws -> (range: (start: String, end: String), rest: EventScan?) {
        await takeTurn()
        let order: SQL = scan.newestFirst ? "DESC" : "ASC"
        // The first row that is too many; read in the key alone.
        let rows = try await database.query(
            """
            SELECT id FROM events WHERE id >= \(scan.start) AND id < \(scan.end)
            ORDER BY id \(order) LIMIT 1 OFFSET \(scan.newestFirst ? scan.size - 1 : scan.size)
            """)
        guard let bound = try rows.first?.text("id") else { return ((scan.start, scan.end), nil) }
        var rest = scan
        if scan.newestFirst {
            rest.end = bound
            return ((bound, scan.end), rest)
        }
        rest.start = bound
        return ((scan.start, bound), rest)
    }

    /// Lets the loop end its turn, and with it the snapshot of the reads so far.
    private func takeTurn() async {
        await EventLoop.sleep(milliseconds: 0)
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
            await takeTurn()
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
}

extension EventScan.Filter {
    /// What a row must be. A prefix is compared as it is: `LIKE` would read its wildcards.
    fileprivate var condition: SQL {
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

extension EventRecord {
    /// The columns that `init(row:)` reads.
    fileprivate static let columns = """
        id, timestamp, type, request_id, client_ip, method, path, status, duration_us, user_id,
        chat_id, group_id, model, prompt_tokens, completion_tokens, upstream_status, upstream_us,
        upstream_request_id, bytes_in, bytes_out, "end", detail
        """

    fileprivate init(row: Row) throws {
        self.init()
        id = try row.text("id")
        timestamp = try row.timestamp("timestamp")
        kind = try row.text("type")
        requestID = try row.text("request_id")
        clientAddress = try row.text("client_ip")
        method = try row.text("method")
        path = try row.text("path")
        status = try row.optionalInteger("status")
        durationMicroseconds = try row.optionalInteger("duration_us")
        userID = try row.optionalText("user_id")
        chatID = try row.optionalText("chat_id")
        groupID = try row.optionalText("group_id")
        model = try row.optionalText("model")
        promptTokens = try row.optionalInteger("prompt_tokens")
        completionTokens = try row.optionalInteger("completion_tokens")
        upstreamStatus = try row.optionalInteger("upstream_status")
        upstreamMicroseconds = try row.optionalInteger("upstream_us")
        upstreamRequestID = try row.optionalText("upstream_request_id")
        bytesIn = try row.integer("bytes_in")
        bytesOut = try row.integer("bytes_out")
        end = try row.optionalText("end")
        detail = try row.optionalText("detail")
    }
}

extension Transaction {
    /// Adds an event that has ended, as part of what it tells of.
    func record(_ event: Event, process: String) async throws {
        try await execute(
            """
            INSERT INTO events (id, timestamp, type, request_id, client_ip, method, path, status,
                user_id, chat_id, group_id, bytes_in, bytes_out, "end", detail, process)
            VALUES (\(event.id), \(event.timestamp), \(event.kind.rawValue), \(event.requestID),
                \(event.clientAddress), \(event.method), \(event.path),
                \(event.status.map(Int64.init)), \(event.userID), \(event.chatID),
                \(event.groupID), \(event.bytesIn), \(event.bytesOut), \(event.end?.rawValue),
                \(event.detail), \(process))
            """)
    }
}

extension ChatSummary {
    /// The newest chats, of all users or of one, in all groups or in one; with BETWEEN for the reason that
    /// `Sweep` gives.
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
