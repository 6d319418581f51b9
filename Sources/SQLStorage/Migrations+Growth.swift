// What keeps the cost of a call the same, however many chats a user or a group has.

extension Migrations {
    /// A place in a chat says which chat it is of, so that lists and rights need no look at every chat:
    /// `seq`, `owner_id` and `group_id` are the chat's. None of them changes while the chat has users but
    /// the owner of a group's chat, which nobody looks for here.
    ///
    /// A table of its own again, whose columns cannot be left out: a process of the release before would
    /// else add users that nobody sees.
    @Sendable static func places(_ dialect: Dialect) -> [String] {
        [
            """
            CREATE TABLE places (
                chat_id \(dialect.text) NOT NULL REFERENCES chats (id) ON DELETE CASCADE,
                user_id \(dialect.text) NOT NULL REFERENCES users (id) ON DELETE CASCADE,
                created_at \(dialect.integer) NOT NULL,
                seq \(dialect.integer) NOT NULL,
                owner_id \(dialect.text) NOT NULL,
                group_id \(dialect.text),
                PRIMARY KEY (chat_id, user_id)
            )\(dialect.small)
            """,
            """
            INSERT INTO places (chat_id, user_id, created_at, seq, owner_id, group_id)
            SELECT chat_users.chat_id, chat_users.user_id, chat_users.created_at, chats.seq,
                chats.user_id, chats.group_id
            FROM chat_users JOIN chats ON chats.id = chat_users.chat_id
            """,
            "DROP TABLE chat_users",
            "ALTER TABLE places RENAME TO chat_users",
            "CREATE INDEX chat_users_in_order ON chat_users (user_id, seq)",
            "CREATE INDEX chat_users_of_owner ON chat_users (user_id, owner_id) WHERE group_id IS NULL",
            """
            CREATE INDEX chat_users_of_group ON chat_users (user_id, group_id, seq)
            WHERE group_id IS NOT NULL
            """,
            // A list of one's own chats is read from the index alone.
            dialect.includesColumns
                ? """
                CREATE INDEX chats_own ON chats (user_id, seq) INCLUDE (id) WHERE group_id IS NULL
                """
                : "CREATE INDEX chats_own ON chats (user_id, seq) WHERE group_id IS NULL",
        ]
    }
}
