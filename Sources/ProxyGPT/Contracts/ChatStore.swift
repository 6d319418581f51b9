/// Keeps chats and who is in them. Every method acts for somebody: a chat that this user has no
/// part in is `notFound` to it, and what only the owner may do is `forbidden` to others.
///
/// Changes of rights leave a revocation behind in the same transaction.
package protocol ChatStore: Sendable {
    /// Adds a chat. Throws `notFound` when its owner is no member of the group that it names.
    func create(_ chat: Chat) async throws

    /// The chat with what `viewer` is to it, nil when it is nothing.
    func access(to id: Chat.ID, of viewer: User.ID) async throws -> ChatAccess?

    /// The chats that `user` has a part in, all of them or those of one group.
    func chats(of user: User.ID, in group: Group.ID?, _ page: Page) async throws -> Listing<Chat>

    func update(
        _ id: Chat.ID, _ change: ChatChange, by user: User.ID, now: Timestamp
    ) async throws -> Chat

    /// Removes the chat with its messages; large ones are out of sight at once and removed later.
    func deleteChat(_ id: Chat.ID, by user: User.ID, now: Timestamp) async throws

    /// The owner, unless it has left the chat's group, and the users that were added.
    func users(of id: Chat.ID) async throws -> [User]

    /// Lets somebody in; no effect when it is in already. Throws `notFound` for nobody.
    func addUser(
        _ added: UserReference, to id: Chat.ID, by user: User.ID, now: Timestamp
    ) async throws

    /// Takes an added user out, which everybody may do to itself; no effect when it is not in.
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

    /// Removes the group with its chats, which are out of sight at once.
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

/// Keeps messages. One process runs a reply: what it writes is written only while the message is
/// its own and running, so that a process that was taken for dead cannot overwrite its end.
package protocol MessageStore: Sendable {
    /// Stores a prompt if its user may prompt in the chat, with the model that `model` makes of the
    /// chat's. Throws `notFound` when it may not, `rateLimited` when `limit` replies to the user are
    /// running, `conflict` when the idempotency key was used for something else.
    func begin(
        _ new: NewMessage, limit: Int, model: @escaping @Sendable (String) -> String
    ) async throws -> StoredPrompt

    /// Writes how a reply of this process ended. Returns the message and the chat's context version
    /// by then, which is nil when this end was stored before; nil when the chat or message is gone or
    /// others have closed it.
    func finish(
        _ id: Message.ID, _ end: ReplyEnd, now: Timestamp
    ) async throws -> (message: Message, contextVersion: Int64?)?

    /// The messages of a chat; whether anybody may read them is the caller's to know. A page may have
    /// fewer than its limit though there are more, see `Message.pageSize`.
    func messages(of chat: Chat.ID, _ page: Page) async throws -> Listing<Message>

    func message(_ id: Message.ID, in chat: Chat.ID) async throws -> Message?

    /// The newest messages with a place below `seq` that count as context, newest first, and the
    /// context version that they belong to.
    func context(
        of chat: Chat.ID, below seq: Int64, limit: Int
    ) async throws -> (messages: [Message], version: Int64)

    /// Asks whoever runs the reply to stop it, for its author and the chat's owner. Returns the
    /// message as it is. Throws `notFound` or `forbidden`.
    func requestStop(
        of id: Message.ID, in chat: Chat.ID, by user: User.ID
    ) async throws -> Message

    /// The running replies of this process, and whether each is asked to stop.
    func runningReplies() async throws -> [Message.ID: Bool]
}
