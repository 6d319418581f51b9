/// Chats, prompts and streams.
public struct Chats: Sendable {
    let connection: Connection

    /// Makes a chat. The server fills in what is not given.
    public func create(
        name: String? = nil, model: String? = nil, groupID: String? = nil
    ) async throws -> Chat {
        try await connection.call(
            .change(
                "/chat/create",
                ["name": optional(name), "model": optional(model), "group_id": optional(groupID)]))
    }

    /// Reads a page of the chats that the client's user may read, or of a group's: the newest ones, unless
    /// `before` or `after` names a chat.
    public func list(
        groupID: String? = nil, limit: Int? = nil, before: String? = nil, after: String? = nil
    ) async throws -> ChatPage {
        var fields = pageFields(limit, before, after)
        fields["group_id"] = optional(groupID)
        return try await connection.call(.read("/chat/index", fields))
    }

    /// All chats that the client's user may read, or those of a group, newest first.
    public func listAll(groupID: String? = nil, limit: Int? = nil) -> PagedList<Chat> {
        PagedList(id: \.id) { before in
            let page = try await list(groupID: groupID, limit: limit, before: before)
            return (page.chats, page.hasMore)
        }
    }

    /// Reads a chat, the users who were added to it, and a page of its messages.
    public func read(
        _ id: String, limit: Int? = nil, before: String? = nil, after: String? = nil
    ) async throws -> ChatDetails {
        var fields = pageFields(limit, before, after)
        fields["id"] = .text(id)
        return try await connection.call(.read("/chat/read", fields))
    }

    /// All messages of a chat, newest first.
    public func messagesAll(_ id: String, limit: Int? = nil) -> PagedList<Message> {
        PagedList(id: \.id) { before in
            let page = try await read(id, limit: limit, before: before)
            return (page.messages, page.hasMore)
        }
    }

    /// Changes what is given of a chat.
    public func update(
        _ id: String, name: String? = nil, model: String? = nil
    ) async throws -> Chat {
        try await connection.call(
            .change(
                "/chat/update", ["id": .text(id), "name": optional(name), "model": optional(model)])
        )
    }

    /// Deletes a chat with its messages.
    public func delete(_ id: String) async throws {
        _ = try await connection.call(
            .change("/chat/delete", ["id": .text(id)]), as: Connection.Nothing.self)
    }

    /// Lets a user, by id or name, into a chat.
    public func addUser(_ id: String, _ user: String) async throws {
        try await change("/chat/user/add", id, user)
    }

    /// Takes a user, by id or name, out of a chat.
    public func removeUser(_ id: String, _ user: String) async throws {
        try await change("/chat/user/remove", id, user)
    }

    private func change(_ path: String, _ id: String, _ user: String) async throws {
        _ = try await connection.call(
            .change(path, ["id": .text(id), "user_id": .text(user)]), as: Connection.Nothing.self)
    }

    // MARK: - Prompts

    /// Sends a prompt and waits for the reply.
    /// - Parameters:
    ///   - context: how many earlier messages of the chat the model gets.
    ///   - otr: stores the prompt off the record: no model gets it, and it has no reply.
    ///   - idempotencyKey: the same key brings the same message. Default: a new key for each prompt.
    public func prompt(
        _ id: String, _ text: String, context: Int? = nil, otr: Bool = false,
        idempotencyKey: String? = nil
    ) async throws -> Reply {
        try await connection.call(
            Self.prompt(id, text, context, otr: otr, isStreamed: false, idempotencyKey))
    }

    /// Sends a prompt; the deltas of its reply come as it is written.
    ///
    /// The parameters are those of `prompt(_:_:context:otr:idempotencyKey:)`.
    public func stream(
        _ id: String, _ text: String, context: Int? = nil, idempotencyKey: String? = nil
    ) -> ReplyStream {
        ReplyStream(
            connection: connection, chat: id,
            prompt: Self.prompt(id, text, context, otr: false, isStreamed: true, idempotencyKey))
    }

    private static func prompt(
        _ id: String, _ text: String, _ context: Int?, otr: Bool, isStreamed: Bool, _ key: String?
    ) -> Request {
        var request = Request.change(
            "/chat/prompt",
            [
                "id": .text(id), "prompt": .text(text), "context": optional(context),
                "otr": otr ? .boolean(true) : nil, "stream": isStreamed ? .boolean(true) : nil,
            ])
        request.idempotencyKey = key ?? newKey()
        return request
    }

    /// A key by which the server recognizes a prompt that is sent again.
    private static func newKey() -> String {
        String(UInt64.random(in: .min ... .max), radix: 36)
            + String(UInt64.random(in: .min ... .max), radix: 36)
    }

    /// The frames of a chat, for everybody in it.
    /// - Parameter after: the id of the last frame that is known; without it the replies that are running come
    ///   from their beginning.
    public func watch(_ id: String, after: String? = nil) -> ChatFrames {
        ChatFrames(connection: connection, chat: id, after: after ?? "")
    }

    /// Ends a running reply. The answer has the text so far.
    public func stop(_ id: String, _ messageID: String) async throws -> Reply {
        try await connection.call(
            .change("/chat/stop", ["id": .text(id), "message_id": .text(messageID)]))
    }
}
