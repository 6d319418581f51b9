// The schema, as the steps that lead to it. Append only: a step that was released never changes,
// and every step leaves the previous release's statements working, because workers are replaced
// one after another.
//
// Beside its extensions and the schema of the bus the one file with CREATE. Times are milliseconds since
// 1970. Statements keep to what SQLite and PostgreSQL share; what they do not is a word of `Dialect`.

/// One step of the schema, done in one transaction together with its record.
struct Migration: Sendable {
    let version: Int64
    let name: String
    let statements: @Sendable (Dialect) -> [String]
}

/// Says why the schema is not the one that this program works with.
package enum MigrationError: Error, CustomStringConvertible {
    /// A newer release has been here; its schema may mean things that this one would break.
    case schemaIsNewer(found: Int64, known: Int64)
    case failed(version: Int64, name: String, cause: any Error)

    package var description: String {
        switch self {
        case .schemaIsNewer(let found, let known):
            "the database has schema version \(found), this program knows \(known): "
                + "use the newer release"
        case .failed(let version, let name, let cause):
            "migration \(version) (\(name)) failed: \(cause)"
        }
    }
}

/// All steps of the schema, in order.
enum Migrations {
    static let all: [Migration] = [
        Migration(version: 1, name: "users and sessions", statements: users),
        Migration(version: 2, name: "groups and chats", statements: chats),
        Migration(version: 3, name: "events and processes", statements: events),
        Migration(version: 4, name: "conversations", statements: conversations),
        Migration(version: 5, name: "moves", statements: moves),
        Migration(version: 6, name: "log-ins under way", statements: logins),
        Migration(version: 7, name: "installation", statements: installation),
        Migration(version: 8, name: "places in chats", statements: chatUsers),
        Migration(version: 9, name: "deletions", statements: deletions),
        Migration(version: 10, name: "generations of sessions", statements: generations),
        Migration(version: 11, name: "processes and missed ends", statements: processes),
        Migration(version: 12, name: "usage by day", statements: usage),
    ]

    /// Where the steps that were done are recorded.
    static func record(_ dialect: Dialect) -> String {
        """
        CREATE TABLE IF NOT EXISTS schema_migrations (
            version \(dialect.integer) PRIMARY KEY,
            name \(dialect.text) NOT NULL
        )\(dialect.large)
        """
    }

    /// The steps that are left to do after version `found`.
    static func pending(
        after found: Int64, in migrations: [Migration] = all
    ) throws(MigrationError) -> [Migration] {
        let known = migrations.last?.version ?? 0
        guard found <= known else { throw .schemaIsNewer(found: found, known: known) }
        return migrations.filter { $0.version > found }
    }

    // MARK: - 1

    @Sendable private static func users(_ dialect: Dialect) -> [String] {
        [
            """
            CREATE TABLE users (
                id \(dialect.text) NOT NULL PRIMARY KEY,
                username \(dialect.text) NOT NULL,
                folded_name \(dialect.text) NOT NULL UNIQUE,
                first_name \(dialect.text) NOT NULL,
                last_name \(dialect.text) NOT NULL,
                role \(dialect.text) NOT NULL,
                password_hash \(dialect.text) NOT NULL,
                created_at \(dialect.integer) NOT NULL,
                updated_at \(dialect.integer) NOT NULL
            )\(dialect.small)
            """,
            """
            CREATE TABLE sessions (
                id \(dialect.text) NOT NULL PRIMARY KEY,
                user_id \(dialect.text) NOT NULL REFERENCES users (id) ON DELETE CASCADE,
                token_digest \(dialect.bytes) NOT NULL UNIQUE,
                created_at \(dialect.integer) NOT NULL,
                last_used_at \(dialect.integer) NOT NULL,
                expires_at \(dialect.integer) NOT NULL
            )\(dialect.small)
            """,
            "CREATE INDEX sessions_of_user ON sessions (user_id)",
            "CREATE INDEX sessions_by_expiry ON sessions (expires_at)",
            """
            CREATE TABLE login_failures (
                key \(dialect.text) NOT NULL PRIMARY KEY,
                count \(dialect.integer) NOT NULL,
                last_at \(dialect.integer) NOT NULL
            )\(dialect.small)
            """,
            "CREATE INDEX login_failures_by_age ON login_failures (last_at)",
        ]
    }

    // MARK: - 2

    // `seq` columns order what belongs together as it was inserted, whatever the clocks said.
    @Sendable private static func chats(_ dialect: Dialect) -> [String] {
        [
            """
            CREATE TABLE groups (
                id \(dialect.text) NOT NULL PRIMARY KEY,
                seq \(dialect.integer) NOT NULL UNIQUE,
                name \(dialect.text) NOT NULL,
                description \(dialect.text) NOT NULL,
                owner_id \(dialect.text) NOT NULL REFERENCES users (id),
                created_at \(dialect.integer) NOT NULL,
                updated_at \(dialect.integer) NOT NULL
            )\(dialect.small)
            """,
            "CREATE INDEX groups_of_owner ON groups (owner_id)",
            """
            CREATE TABLE group_members (
                group_id \(dialect.text) NOT NULL REFERENCES groups (id) ON DELETE CASCADE,
                user_id \(dialect.text) NOT NULL REFERENCES users (id) ON DELETE CASCADE,
                created_at \(dialect.integer) NOT NULL,
                PRIMARY KEY (group_id, user_id)
            )\(dialect.small)
            """,
            "CREATE INDEX group_members_by_user ON group_members (user_id, group_id)",
            """
            CREATE TABLE chats (
                id \(dialect.text) NOT NULL PRIMARY KEY,
                seq \(dialect.integer) NOT NULL UNIQUE,
                name \(dialect.text) NOT NULL,
                model \(dialect.text) NOT NULL,
                user_id \(dialect.text) NOT NULL REFERENCES users (id),
                group_id \(dialect.text) REFERENCES groups (id) ON DELETE CASCADE,
                context_version \(dialect.integer) NOT NULL DEFAULT 0,
                last_message_seq \(dialect.integer) NOT NULL DEFAULT 0,
                created_at \(dialect.integer) NOT NULL,
                updated_at \(dialect.integer) NOT NULL
            )\(dialect.small)
            """,
            "CREATE INDEX chats_of_user ON chats (user_id, seq)",
            "CREATE INDEX chats_of_group ON chats (group_id, seq) WHERE group_id IS NOT NULL",
            """
            CREATE TABLE chat_users (
                chat_id \(dialect.text) NOT NULL REFERENCES chats (id) ON DELETE CASCADE,
                user_id \(dialect.text) NOT NULL REFERENCES users (id) ON DELETE CASCADE,
                created_at \(dialect.integer) NOT NULL,
                PRIMARY KEY (chat_id, user_id)
            )\(dialect.small)
            """,
            "CREATE INDEX chat_users_by_user ON chat_users (user_id, chat_id)",
            """
            CREATE TABLE messages (
                id \(dialect.text) NOT NULL PRIMARY KEY,
                chat_id \(dialect.text) NOT NULL REFERENCES chats (id) ON DELETE CASCADE,
                seq \(dialect.integer) NOT NULL,
                user_id \(dialect.text) NOT NULL,
                group_id \(dialect.text),
                prompt \(dialect.text) NOT NULL,
                reply \(dialect.text) NOT NULL,
                model \(dialect.text) NOT NULL,
                otr \(dialect.integer) NOT NULL DEFAULT 0,
                state \(dialect.text) NOT NULL,
                error \(dialect.text),
                prompt_tokens \(dialect.integer),
                completion_tokens \(dialect.integer),
                stop_requested \(dialect.integer) NOT NULL DEFAULT 0,
                idempotency_key \(dialect.text),
                process \(dialect.text),
                created_at \(dialect.integer) NOT NULL,
                updated_at \(dialect.integer) NOT NULL,
                UNIQUE (chat_id, seq)
            )\(dialect.large)
            """,
            """
            CREATE UNIQUE INDEX messages_by_idempotency_key ON messages (user_id, idempotency_key)
                WHERE idempotency_key IS NOT NULL
            """,
            """
            CREATE INDEX messages_running ON messages (process)
                WHERE state IN ('pending', 'streaming')
            """,
        ]
    }

    // MARK: - 3

    // Events refer to nothing: they outlive what they tell of. One index beside the key, and that
    // over open rows alone, keeps an insert cheap. Ids sort by time.
    @Sendable private static func events(_ dialect: Dialect) -> [String] {
        [
            """
            CREATE TABLE processes (
                id \(dialect.text) NOT NULL PRIMARY KEY,
                host \(dialect.text) NOT NULL,
                boot_id \(dialect.text) NOT NULL,
                heartbeat \(dialect.integer) NOT NULL
            )\(dialect.small)
            """,
            """
            CREATE TABLE events (
                id \(dialect.text) NOT NULL PRIMARY KEY,
                timestamp \(dialect.integer) NOT NULL,
                type \(dialect.text) NOT NULL,
                request_id \(dialect.text) NOT NULL,
                client_ip \(dialect.text) NOT NULL,
                method \(dialect.text) NOT NULL,
                path \(dialect.text) NOT NULL,
                status \(dialect.integer),
                duration_us \(dialect.integer),
                user_id \(dialect.text),
                chat_id \(dialect.text),
                group_id \(dialect.text),
                model \(dialect.text),
                prompt_tokens \(dialect.integer),
                completion_tokens \(dialect.integer),
                upstream_status \(dialect.integer),
                upstream_us \(dialect.integer),
                upstream_request_id \(dialect.text),
                bytes_in \(dialect.integer) NOT NULL,
                bytes_out \(dialect.integer) NOT NULL,
                "end" \(dialect.text),
                detail \(dialect.text),
                process \(dialect.text) NOT NULL
            )\(dialect.small)
            """,
            "CREATE INDEX events_open ON events (process) WHERE \"end\" IS NULL",
            """
            CREATE TABLE event_bodies (
                id \(dialect.text) NOT NULL PRIMARY KEY,
                request \(dialect.bytes),
                response \(dialect.bytes)
            )\(dialect.large)
            """,
        ]
    }
}

extension Migrations {
    // MARK: - 4

    // Messages refer to their chat no longer: a chat goes at once, its messages bit by bit, by way of
    // `deleted_chats`. Whoever reads messages asks for the live chat first.
    @Sendable private static func conversations(_ dialect: Dialect) -> [String] {
        [
            "ALTER TABLE users ADD COLUMN disabled_at \(dialect.integer)",
            "ALTER TABLE messages RENAME TO messages_before",
            """
            CREATE TABLE messages (
                id \(dialect.text) NOT NULL PRIMARY KEY,
                chat_id \(dialect.text) NOT NULL,
                seq \(dialect.integer) NOT NULL,
                user_id \(dialect.text) NOT NULL,
                group_id \(dialect.text),
                prompt \(dialect.text) NOT NULL,
                reply \(dialect.text) NOT NULL,
                model \(dialect.text) NOT NULL,
                otr \(dialect.integer) NOT NULL DEFAULT 0,
                state \(dialect.text) NOT NULL,
                error \(dialect.text),
                prompt_tokens \(dialect.integer),
                completion_tokens \(dialect.integer),
                stop_requested \(dialect.integer) NOT NULL DEFAULT 0,
                idempotency_key \(dialect.text),
                process \(dialect.text),
                created_at \(dialect.integer) NOT NULL,
                updated_at \(dialect.integer) NOT NULL,
                UNIQUE (chat_id, seq)
            )\(dialect.large)
            """,
            """
            INSERT INTO messages (id, chat_id, seq, user_id, group_id, prompt, reply, model, otr,
                state, error, prompt_tokens, completion_tokens, stop_requested, idempotency_key,
                process, created_at, updated_at)
            SELECT id, chat_id, seq, user_id, group_id, prompt, reply, model, otr,
                state, error, prompt_tokens, completion_tokens, stop_requested, idempotency_key,
                process, created_at, updated_at
            FROM messages_before
            """,
            "DROP TABLE messages_before",
            """
            CREATE UNIQUE INDEX messages_by_idempotency_key ON messages (user_id, idempotency_key)
                WHERE idempotency_key IS NOT NULL
            """,
            """
            CREATE INDEX messages_running ON messages (process)
                WHERE state IN ('pending', 'streaming')
            """,
            """
            CREATE INDEX messages_running_of_user ON messages (user_id)
                WHERE state IN ('pending', 'streaming')
            """,
            """
            CREATE INDEX messages_of_context ON messages (chat_id, seq)
                WHERE otr = 0 AND state IN ('done', 'stopped') AND reply <> ''
            """,
            "CREATE TABLE deleted_chats (id \(dialect.text) NOT NULL PRIMARY KEY)\(dialect.small)",
            """
            CREATE TABLE counters (
                name \(dialect.text) NOT NULL PRIMARY KEY,
                value \(dialect.integer) NOT NULL
            )\(dialect.small)
            """,
            "INSERT INTO counters SELECT 'chats', COALESCE(MAX(seq), 0) FROM chats",
            "INSERT INTO counters SELECT 'groups', COALESCE(MAX(seq), 0) FROM groups",
            "INSERT INTO counters VALUES ('revocations', 0)",
            """
            CREATE TABLE revocations (
                seq \(dialect.integer) NOT NULL PRIMARY KEY,
                session_id \(dialect.text),
                user_id \(dialect.text),
                chat_id \(dialect.text),
                group_id \(dialect.text),
                created_at \(dialect.integer) NOT NULL
            )\(dialect.large)
            """,
        ]
    }

    // MARK: - Running them

    /// Brings a SQLite file to the newest schema. Called inside the gate.
    static func run(
        on connection: SQLiteConnection, _ migrations: [Migration] = all
    ) throws {
        try connection.run(record(.sqlite))
        let rows = try connection.query(
            "SELECT COALESCE(MAX(version), 0) AS version FROM schema_migrations")
        let found = try rows.first?.integer("version") ?? 0
        for migration in try pending(after: found, in: migrations) {
            do {
                try connection.run("BEGIN IMMEDIATE")
                for statement in migration.statements(.sqlite) { try connection.run(statement) }
                _ = try connection.execute(
                    """
                    INSERT INTO schema_migrations (version, name)
                    VALUES (\(migration.version), \(migration.name))
                    """)
                try connection.run("COMMIT")
            } catch {
                if connection.isInTransaction { try? connection.run("ROLLBACK") }
                throw MigrationError.failed(
                    version: migration.version, name: migration.name, cause: error)
            }
        }
    }
}
