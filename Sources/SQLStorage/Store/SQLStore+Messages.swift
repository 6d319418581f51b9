package import ProxyGPT

extension SQLStore {
    package func begin(
        _ new: NewMessage, limit: Int, model: @escaping @Sendable (String) -> String
    ) async throws -> StoredPrompt {
        let process = process
        return try await transaction(inTurn: new.chatID.text, new.userID.text) { transaction in
            let chats = try await transaction.query(
                """
                UPDATE chats SET last_message_seq = last_message_seq + 1,
                    updated_at = \(new.createdAt)
                WHERE id = \(new.chatID) AND \(Chat.isAccessible(by: new.userID))
                RETURNING model, group_id, last_message_seq, context_version,
                    (SELECT username FROM users WHERE users.id = \(new.userID)) AS username
                """)
            guard let chat = chats.first else { throw Failure.notFound("chat") }
            if let key = new.idempotencyKey,
                let known = try await transaction.message(of: new.userID, key: key)
            {
                guard known.chatID == new.chatID, known.prompt == new.prompt,
                    known.isOffRecord == new.isOffRecord
                else { throw Failure.keyUsedOtherwise }
                guard known.state == .failed, known.failure?.mayBeRepeated == true else {
                    return .known(known)
                }
                // A message of its own: subscribers know the other one's end already.
                try await transaction.send(
                    "UPDATE messages SET idempotency_key = NULL WHERE id = \(known.id)")
            }
            if new.state.isRunning { try await transaction.demandRoom(for: new, limit: limit) }
            let message = Message(
                id: new.id, chatID: new.chatID, userID: new.userID,
                username: try chat.optionalText("username"),
                groupID: try chat.optionalID("group_id"),
                seq: try chat.sequence("last_message_seq"), prompt: new.prompt,
                model: model(try chat.text("model")), isOffRecord: new.isOffRecord,
                state: new.state, createdAt: new.createdAt, updatedAt: new.createdAt)
            try await transaction.send(
                """
                INSERT INTO messages (id, chat_id, seq, user_id, group_id, prompt, reply, model,
                    otr, state, idempotency_key, process, created_at, updated_at)
                VALUES (\(message.id), \(message.chatID), \(message.seq), \(message.userID),
                    \(message.groupID), \(message.prompt), \(message.reply), \(message.model),
                    \(message.isOffRecord ? 1 : 0), \(message.state.rawValue),
                    \(new.idempotencyKey), \(process), \(message.createdAt),
                    \(message.updatedAt))
                """)
            return .new(message, contextVersion: try chat.sequence("context_version"))
        }
    }

    package func finish(
        _ id: Message.ID, _ end: ReplyEnd, now: Timestamp
    ) async throws -> (message: Message, contextVersion: Int64?)? {
        let process = process
        var chat = ""
        if turns != nil {
            let rows = try await database.query("SELECT chat_id FROM messages WHERE id = \(id)")
            guard let row = rows.first else { return nil }
            chat = try row.text("chat_id")
        }
        return try await transaction(inTurn: chat) { transaction in
            // The chat first, because every transaction locks a chat before its messages. Where the
            // message has ended meanwhile, the version is raised without need, which does no harm.
            let chats = try await transaction.query(
                """
                UPDATE chats SET context_version = context_version + 1
                WHERE id = (SELECT chat_id FROM messages
                    WHERE id = \(id) AND process = \(process) AND state IN ('pending', 'streaming'))
                RETURNING context_version
                """)
            guard let version = try chats.first?.sequence("context_version") else {
                return try await transaction.ended(id, as: end, by: process)
            }
            let rows = try await transaction.query(
                """
                UPDATE messages SET state = \(end.state.rawValue), reply = \(end.reply),
                    error = \(end.failure?.text), prompt_tokens = \(end.usage?.promptTokens),
                    completion_tokens = \(end.usage?.completionTokens), updated_at = \(now)
                WHERE id = \(id) AND process = \(process)
                    AND state IN ('pending', 'streaming')
                RETURNING \(unsafe: Message.columns)
                """)
            return try rows.first.map { (try Message(row: $0), version) }
        }
    }

    package func messages(of chat: Chat.ID, _ page: Page) async throws -> Listing<Message> {
        let range = try await range(of: page, in: "messages", where: "chat_id = \(chat)")
        let (read, goesOn) = try await messages(
            of: chat, range, isForward: page.isForward, limit: page.limit + 1)
        return Listing(read: read, for: page, goesOn: goesOn)
    }

    /// Reads in batches, because a thousand of the largest messages would not fit in memory.
    /// Returns whether reading ended before the limit for want of memory.
    func messages(
        of chat: Chat.ID, _ range: SQL, isForward: Bool, limit: Int
    ) async throws -> (read: [Message], goesOn: Bool) {
        var range = range
        let order: SQL = isForward ? "ASC" : "DESC"
        var read: [Message] = []
        var size = 0
        while true {
            let wanted = min(Self.batch, limit - read.count)
            let rows = try await database.query(
                """
                SELECT \(unsafe: Message.columns) FROM messages
                WHERE chat_id = \(chat) AND \(range)
                ORDER BY seq \(order) LIMIT \(wanted)
                """)
            for message in try rows.map(Message.init(row:)) {
                size += message.size
                if size > Message.pageSize && !read.isEmpty { return (read, true) }
                read.append(message)
            }
            guard let last = read.last, rows.count == wanted, read.count < limit else {
                return (read, false)
            }
            range = isForward ? "seq > \(last.seq)" : "seq < \(last.seq)"
        }
    }

    /// Messages read at once.
    private static let batch = 64

    package func message(_ id: Message.ID, in chat: Chat.ID) async throws -> Message? {
        let rows = try await database.query(
            """
            SELECT \(unsafe: Message.columns) FROM messages WHERE id = \(id) AND chat_id = \(chat)
            """)
        return try rows.first.map(Message.init(row:))
    }

    // One statement, so that messages and version are of one moment. The left join brings the
    // version where there are no messages.
    package func context(
        of chat: Chat.ID, below seq: Int64, limit: Int
    ) async throws -> (messages: [Message], version: Int64) {
        let rows = try await database.query(
            """
            SELECT chats.context_version, \(unsafe: Message.columns)
            FROM chats LEFT JOIN (
                SELECT * FROM messages
                WHERE chat_id = \(chat) AND seq < \(seq)
                    AND otr = 0 AND state IN ('done', 'stopped') AND reply <> ''
                ORDER BY seq DESC LIMIT \(limit)
            ) AS messages ON messages.chat_id = chats.id
            WHERE chats.id = \(chat)
            ORDER BY messages.seq DESC
            """)
        guard let version = try rows.first?.sequence("context_version") else {
            throw Failure.notFound("chat")
        }
        let messages = try rows.filter { try $0.value("id") != .null }.map(Message.init(row:))
        return (messages, version)
    }

    package func requestStop(
        of id: Message.ID, in chat: Chat.ID, by user: User.ID
    ) async throws -> Message {
        try await transaction(inTurn: chat.text) { transaction in
            let access = try await transaction.query(Chat.accessQuery(chat, user))
            guard let access = try access.first.flatMap(ChatAccess.init(row:)) else {
                throw Failure.notFound("chat")
            }
            let rows = try await transaction.query(
                """
                SELECT \(unsafe: Message.columns) FROM messages
                WHERE id = \(id) AND chat_id = \(chat)
                """)
            guard let message = try rows.first.map(Message.init(row:)) else {
                throw Failure(
                    .notFound, "There is no message with this id.", parameter: "message_id")
            }
            guard access.role == .owner || message.userID == user else {
                throw Failure(
                    .forbidden,
                    "Only the author of the prompt and the owner of the chat may stop a reply.")
            }
            if message.state.isRunning {
                try await transaction.execute(
                    "UPDATE messages SET stop_requested = 1 WHERE id = \(id)")
            }
            return message
        }
    }

    package func runningReplies() async throws -> [Message.ID: Bool] {
        let rows = try await database.query(
            """
            SELECT messages.id, stop_requested FROM messages
            JOIN chats ON chats.id = messages.chat_id
            WHERE process = \(process) AND state IN ('pending', 'streaming') AND \(Chat.isKept)
            """)
        var replies: [Message.ID: Bool] = [:]
        for row in rows { replies[try row.id("id")] = try row.integer("stop_requested") != 0 }
        return replies
    }
}

extension Message {
    /// The columns that `init(row:)` reads.
    static let columns = """
        messages.id, messages.chat_id, messages.seq, messages.user_id, messages.group_id,
        messages.prompt, messages.reply, messages.model, messages.otr, messages.state,
        messages.error, messages.prompt_tokens, messages.completion_tokens,
        messages.created_at, messages.updated_at,
        (SELECT users.username FROM users WHERE users.id = messages.user_id
            AND \(User.isKept.text)) AS username
        """

    init(row: Row) throws {
        let promptTokens = try row.optionalInteger("prompt_tokens")
        let completionTokens = try row.optionalInteger("completion_tokens")
        let usage =
            promptTokens == nil && completionTokens == nil
            ? nil : Usage(promptTokens: promptTokens, completionTokens: completionTokens)
        self.init(
            id: try row.id("id"), chatID: try row.id("chat_id"), userID: try row.id("user_id"),
            username: try row.optionalText("username"), groupID: try row.optionalID("group_id"),
            seq: try row.sequence("seq"),
            prompt: try row.text("prompt"), reply: try row.text("reply"),
            model: try row.text("model"), isOffRecord: try row.integer("otr") != 0,
            state: try row.word("state", or: .failed),
            failure: try row.optionalText("error").map { ReplyFailure(text: $0) }, usage: usage,
            createdAt: try row.timestamp("created_at"), updatedAt: try row.timestamp("updated_at"))
    }
}

extension Failure {
    fileprivate static let keyUsedOtherwise = Failure(
        .conflict, "This Idempotency-Key was used for another prompt.",
        parameter: "Idempotency-Key")
}

extension Transaction {
    /// The message, where exactly this end was stored before: by a commit whose answer was lost.
    fileprivate func ended(
        _ id: Message.ID, as end: ReplyEnd, by process: String
    ) async throws -> (message: Message, contextVersion: Int64?)? {
        let rows = try await query(
            """
            SELECT \(unsafe: Message.columns)
            FROM messages JOIN chats ON chats.id = messages.chat_id
            WHERE messages.id = \(id) AND messages.process = \(process)
                AND messages.state = \(end.state.rawValue) AND messages.reply = \(end.reply)
                AND COALESCE(messages.error, '') = \(end.failure?.text ?? "")
            """)
        // The version of that commit is not known any more: other messages may have ended after it.
        return try rows.first.map { (try Message(row: $0), nil) }
    }

    fileprivate func message(of user: User.ID, key: String) async throws -> Message? {
        let rows = try await query(
            """
            SELECT \(unsafe: Message.columns) FROM messages
            WHERE user_id = \(user) AND idempotency_key = \(key)
            """)
        return try rows.first.map(Message.init(row:))
    }

    /// Throws `rateLimited` when as many replies to the user run as may.
    fileprivate func demandRoom(for new: NewMessage, limit: Int) async throws {
        // Two prompts in two chats would not see one another.
        try await lock("SELECT id FROM users WHERE id = \(new.userID) FOR NO KEY UPDATE")
        let rows = try await query(
            """
            SELECT COUNT(*) AS count FROM messages
            WHERE user_id = \(new.userID) AND state IN ('pending', 'streaming')
            """)
        guard try rows.first?.integer("count") ?? 0 < Int64(limit) else {
            throw Failure(
                .rateLimited, "\(limit) replies to you are running. Wait for one to end.",
                retryAfter: 1)
        }
    }

    /// Raises the context version: another set of messages counts as context from now on.
    func countContextVersion(of chat: Chat.ID) async throws -> Int64 {
        let rows = try await query(
            """
            UPDATE chats SET context_version = context_version + 1 WHERE id = \(chat)
            RETURNING context_version
            """)
        return try rows.first?.sequence("context_version") ?? 0
    }
}
