/// Keeps chats and their users. Every method acts for a user: a chat that this user cannot access
/// is `notFound`, and an action of the owner is `forbidden` for others.
///
/// A change of rights writes a revocation in the same transaction.
package protocol ChatStore: Sendable {
    /// Adds a chat. Throws `notFound` when its owner is no member of the group that it names.
    func create(_ chat: Chat) async throws

    /// The chat with the role of `viewer` in it, nil when the viewer cannot access it.
    func access(to id: Chat.ID, of viewer: User.ID) async throws -> ChatAccess?

    /// The chats that `user` can access, all of them or those of one group.
    func chats(of user: User.ID, in group: Group.ID?, _ page: Page) async throws -> Listing<Chat>

    func update(
        _ id: Chat.ID, _ change: ChatChange, by user: User.ID, now: Timestamp
    ) async throws -> Chat

    /// Removes the chat with its messages. A large one is hidden at once and removed later.
    func deleteChat(_ id: Chat.ID, by user: User.ID, now: Timestamp) async throws

    /// The owner, unless the owner has left the chat's group, and the added users.
    func users(of id: Chat.ID) async throws -> [User]

    /// Adds a user; no effect when the user can access the chat already. Throws `notFound` for an
    /// unknown user.
    func addUser(
        _ added: UserReference, to id: Chat.ID, by user: User.ID, now: Timestamp
    ) async throws

    /// Removes an added user; users may remove themselves. No effect when the user was not added.
    func removeUser(
        _ removed: UserReference, from id: Chat.ID, by user: User.ID, now: Timestamp
    ) async throws
}

/// Keeps groups and their members, by the rules of `ChatStore`.
package protocol GroupStore: Sendable {
    /// Adds a group whose owner is its first member.
    func create(_ group: Group) async throws

    /// The group if `viewer` is a member of it.
    func group(_ id: Group.ID, for viewer: User.ID) async throws -> Group?

    /// The groups that `user` is a member of.
    func groups(of user: User.ID, _ page: Page) async throws -> Listing<Group>

    /// Throws `notFound` when the new owner is no member.
    func update(
        _ id: Group.ID, _ change: GroupChange, by user: User.ID, now: Timestamp
    ) async throws -> Group

    /// Removes the group with its chats, which are hidden at once.
    func deleteGroup(_ id: Group.ID, by user: User.ID, now: Timestamp) async throws

    /// The members, in the order of their ids.
    func members(of id: Group.ID, _ page: Page) async throws -> Listing<User>

    /// Adds all of them or, when one of them does not exist, none (`notFound`).
    func addMembers(
        _ added: [UserReference], to id: Group.ID, by user: User.ID, now: Timestamp
    ) async throws

    /// Removes all of them, from the group's chats too, or none. Members may remove themselves, the
    /// owner cannot be removed (`invalidRequest`).
    func removeMembers(
        _ removed: [UserReference], from id: Group.ID, by user: User.ID, now: Timestamp
    ) async throws
}

/// Keeps messages. One process runs a reply, and its writes take effect only while the message is
/// running and belongs to it, so that a process that was declared dead cannot overwrite the end.
package protocol MessageStore: Sendable {
    /// Stores a prompt if its user may prompt in the chat; `model` maps the chat's model. Throws
    /// `notFound` when the user may not, `rateLimited` when `limit` replies to the user are
    /// running, `conflict` when the idempotency key was used for another prompt.
    func begin(
        _ new: NewMessage, limit: Int, model: @escaping @Sendable (String) -> String
    ) async throws -> StoredPrompt

    /// Writes the end of a reply of this process. Returns the message and the chat's context
    /// version, which is nil when this end was stored before. Nil when the chat or message was
    /// deleted or another process has closed it.
    func finish(
        _ id: Message.ID, _ end: ReplyEnd, now: Timestamp
    ) async throws -> (message: Message, contextVersion: Int64?)?

    /// The messages of a chat. The caller has checked the right to read them. A page may have fewer
    /// messages than its limit although there are more, see `Message.pageSize`.
    func messages(of chat: Chat.ID, _ page: Page) async throws -> Listing<Message>

    func message(_ id: Message.ID, in chat: Chat.ID) async throws -> Message?

    /// The newest messages with a place below `seq` that count as context, newest first, and the
    /// context version that they belong to.
    func context(
        of chat: Chat.ID, below seq: Int64, limit: Int
    ) async throws -> (messages: [Message], version: Int64)

    /// Asks the process that runs the reply to stop it, for its author or the chat's owner. Returns
    /// the message before it stops. Throws `notFound` or `forbidden`.
    func requestStop(
        of id: Message.ID, in chat: Chat.ID, by user: User.ID
    ) async throws -> Message

    /// The running replies of this process, each with whether a stop was requested.
    func runningReplies() async throws -> [Message.ID: Bool]
}
