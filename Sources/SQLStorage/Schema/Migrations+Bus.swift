// The schema of the bus's own file. Append only, as the other one.
//
// Times are milliseconds of the kernel's monotonic clock: all that is in here is of one boot, and
// nobody sets that clock.

/// All steps of the bus's schema, in order.
enum BusMigrations {
    static let all: [Migration] = [
        Migration(version: 1, name: "frames", statements: frames)
    ]

    @Sendable private static func frames(_ dialect: Dialect) -> [String] {
        [
            // One row. Trimmed: the newest frame that is gone. Floor: nobody knows any more which
            // chats the frames up to here were of.
            """
            CREATE TABLE log (
                epoch TEXT NOT NULL,
                boot_id TEXT NOT NULL,
                trimmed \(dialect.integer) NOT NULL,
                floor \(dialect.integer) NOT NULL
            )\(dialect.large)
            """,
            // AUTOINCREMENT: without it a log whose newest frames were trimmed uses ids twice.
            """
            CREATE TABLE frames (
                seq INTEGER PRIMARY KEY AUTOINCREMENT,
                chat_id TEXT NOT NULL,
                message_id TEXT NOT NULL,
                user_id TEXT NOT NULL,
                kind TEXT NOT NULL,
                text TEXT NOT NULL,
                prompt TEXT,
                created_at \(dialect.integer) NOT NULL
            )\(dialect.large)
            """,
            "CREATE INDEX frames_of_chat ON frames (chat_id)",
            // The messages that have frames, and where those stand: an index would cost every frame
            // what this costs a message.
            """
            CREATE TABLE messages (
                id TEXT NOT NULL PRIMARY KEY,
                chat_id TEXT NOT NULL,
                first_seq \(dialect.integer) NOT NULL,
                last_seq \(dialect.integer),
                begun_at \(dialect.integer) NOT NULL,
                ended_at \(dialect.integer)
            )\(dialect.small)
            """,
            "CREATE INDEX messages_running ON messages (chat_id) WHERE ended_at IS NULL",
            "CREATE INDEX messages_ended ON messages (ended_at) WHERE ended_at IS NOT NULL",
            // The newest frame of a chat that is gone.
            """
            CREATE TABLE trimmed_chats (
                chat_id TEXT NOT NULL PRIMARY KEY,
                seq \(dialect.integer) NOT NULL,
                trimmed_at \(dialect.integer) NOT NULL
            )\(dialect.small)
            """,
            "CREATE INDEX trimmed_chats_by_time ON trimmed_chats (trimmed_at)",
        ]
    }
}
