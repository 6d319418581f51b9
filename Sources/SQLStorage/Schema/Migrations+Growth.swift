// What keeps the cost of a call the same, however many chats a user or a group has.

extension Migrations {
    /// A place in a chat says which chat it is of, so that lists and rights need no look at every chat:
    /// `seq`, `owner_id` and `group_id` are the chat's. None of them changes while the chat has users but
    /// the owner of a group's chat, which nobody looks for here. A process of the release before leaves
    /// them out, and `completeChatUsers` fills them in.
    @Sendable static func chatUsers(_ dialect: Dialect) -> [String] {
        [
            "ALTER TABLE chat_users ADD COLUMN seq \(dialect.integer) NOT NULL DEFAULT 0",
            "ALTER TABLE chat_users ADD COLUMN owner_id \(dialect.text) NOT NULL DEFAULT ''",
            "ALTER TABLE chat_users ADD COLUMN group_id \(dialect.text)",
            completeChatUsers,
            "CREATE INDEX chat_users_incomplete ON chat_users (chat_id) WHERE seq = 0",
            "CREATE INDEX chat_users_in_order ON chat_users (user_id, seq)",
            """
            CREATE INDEX chat_users_of_owner ON chat_users (user_id, owner_id)
            WHERE group_id IS NULL
            """,
            """
            CREATE INDEX chat_users_of_group ON chat_users (user_id, group_id, seq)
            WHERE group_id IS NOT NULL
            """,
            // A list of one's own chats is read from the index alone.
            dialect.hasServer
                ? """
                CREATE INDEX chats_own ON chats (user_id, seq) INCLUDE (id) WHERE group_id IS NULL
                """
                : "CREATE INDEX chats_own ON chats (user_id, seq) WHERE group_id IS NULL",
        ]
    }

    static let completeChatUsers = """
        UPDATE chat_users SET
            seq = chats.seq, owner_id = chats.user_id, group_id = chats.group_id
        FROM chats WHERE chats.id = chat_users.chat_id AND chat_users.seq = 0
        """
}
