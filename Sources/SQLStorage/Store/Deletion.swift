// Marks of what is to go, and what follows from them: nobody has a right to it, and nobody sees it.

internal import ProxyGPT

/// What a row of `deletions` stands for, in the order in which it goes.
enum Deletion: String {
    case group
    /// Sessions that have ended, of a user that stays.
    case sessions
    case user

    /// The id of the mark of a user's sessions. No user has it.
    static func sessionsMark(of user: String) -> String { ":" + user }

    /// The user whose sessions a mark stands for.
    static func user(ofSessionsMark id: String) -> String {
        String(decoding: id.utf8.dropFirst(), as: UTF8.self)
    }
}

extension Chat {
    /// Holds for chats that have not been deleted with their group or, outside of groups, their owner.
    static let isKept: SQL =
        "COALESCE(chats.group_id, chats.user_id) NOT IN (SELECT id FROM deletions)"
    /// The same of a row of `chat_users`.
    static let isKeptPlace: SQL =
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
    /// How many members leave a group with its mark; others who may ask for one another find that
    /// they share it no more.
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
        // Its name is free for somebody else at once; no name has a colon.
        let count = try await execute(
            """
            UPDATE users SET disabled_at = \(now), folded_name = \(":" + id.text)
            WHERE id = \(id) AND \(User.isKept)
            """)
        guard count > 0 else { throw Failure.notFound("user") }
        try await send(
            "INSERT INTO deletions (id, kind) VALUES (\(id), \(Deletion.user.rawValue))")
        try await revoke(Revocation(user: id), now: now)
        // Streams of others in its chats.
        try await revoke(Revocation(holder: id), now: now)
    }
}
