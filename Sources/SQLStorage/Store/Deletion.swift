// Marks of groups, users and chats that are deleted, and the conditions that follow from them: a
// marked row gives no right and is not shown.

internal import ProxyGPT

/// The kinds of rows of `deletions`, in the order in which a sweep removes their content.
enum Deletion: String {
    case group
    /// Sessions that have ended, of a user that stays.
    case sessions
    case user

    /// The id of the mark of a user's sessions. No user has it.
    static func sessionsMark(of user: String) -> String { ":" + user }

    /// The user of the sessions that a mark is for.
    static func user(ofSessionsMark id: String) -> String {
        String(decoding: id.utf8.dropFirst(), as: UTF8.self)
    }
}

extension Chat {
    /// Holds for chats that have not been deleted, neither with their group nor, outside of groups,
    /// with their owner.
    static let isKept: SQL =
        "COALESCE(chats.group_id, chats.user_id) NOT IN (SELECT id FROM deletions)"
    /// The same of a row of `chat_users`.
    static let isKeptChatUser: SQL =
        "COALESCE(chat_users.group_id, chat_users.owner_id) NOT IN (SELECT id FROM deletions)"
}

extension Group {
    static let isKept: SQL = "groups.id NOT IN (SELECT id FROM deletions)"
    /// The same of a row of `group_members`.
    static let isKeptMembership: SQL =
        "group_members.group_id NOT IN (SELECT id FROM deletions)"
}

extension User {
    static let isKept: SQL = "users.id NOT IN (SELECT id FROM deletions)"
}

extension Transaction {
    /// The number of members that leave a group together with its mark: two such users no longer
    /// see each other through the group. The other members leave with the sweep.
    private static var members: Int { 1000 }

    /// Marks a group with its members and chats.
    func deleteGroup(_ id: Group.ID, now: Timestamp) async throws {
        try await lock(id)
        try await send(
            """
            INSERT INTO deletions (id, kind) VALUES (\(id), \(Deletion.group.rawValue))
            ON CONFLICT (id) DO NOTHING
            """)
        try await send(
            """
            DELETE FROM group_members WHERE group_id = \(id) AND user_id IN (
                SELECT user_id FROM group_members WHERE group_id = \(id)
                ORDER BY user_id LIMIT \(Self.members))
            """)
        try await revoke(Revocation(group: id), now: now)
    }

    /// Marks a user with all it holds. Throws `notFound` where there is none.
    func deleteUser(_ id: User.ID, now: Timestamp) async throws {
        // The name is free for another user at once; no user name has a colon.
        let count = try await execute(
            """
            UPDATE users SET disabled_at = \(now), folded_name = \(":" + id.text)
            WHERE id = \(id) AND \(User.isKept)
            """)
        guard count > 0 else { throw Failure.notFound("user") }
        try await send(
            "INSERT INTO deletions (id, kind) VALUES (\(id), \(Deletion.user.rawValue))")
        try await revoke(Revocation(user: id), now: now)
        // Streams of other users in chats of the deleted user.
        try await revoke(Revocation(holder: id), now: now)
    }
}
