package import ProxyGPT

// Each statement contains the check of the caller's rights, so that no right can change between the
// check and the change.

extension SQLStore {
    package func create(_ chat: Chat) async throws {
        let keys = (chat.groupID.map { [$0.text] } ?? []) + [CounterName.chats.turn]
        try await transaction(inTurn: keys) { transaction in
            if let group = chat.groupID {
                try await transaction.lock(group)
                let rows = try await transaction.query(
                    """
                    SELECT 1 AS found FROM group_members
                    WHERE group_id = \(group) AND user_id = \(chat.userID)
                        AND \(Group.isKeptMembership)
                    """)
                guard !rows.isEmpty else { throw Failure.notFound("group") }
            }
            let seq = try await transaction.next(.chats)
            try await transaction.send(
                """
                INSERT INTO chats (id, seq, name, model, user_id, group_id, created_at, updated_at)
                VALUES (\(chat.id), \(seq), \(chat.name), \(chat.model), \(chat.userID),
                    \(chat.groupID), \(chat.createdAt), \(chat.updatedAt))
                """)
        }
    }

    package func access(to id: Chat.ID, of viewer: User.ID) async throws -> ChatAccess? {
        let rows = try await database.query(Chat.accessQuery(id, viewer))
        return try rows.first.flatMap(ChatAccess.init(row:))
    }

    /// Three sources, each in order by an index of its own, so that no long list is sorted: each
    /// group contributes only its first chats.
    package func chats(
        of user: User.ID, in group: Group.ID?, _ page: Page
    ) async throws -> Listing<Chat> {
        let anchor = try await anchor(of: page, in: "chats", where: Chat.isAccessible(by: user))
        let range = page.range(from: anchor)
        let order: SQL = page.isForward ? "ASC" : "DESC"
        let count = page.limit + 1
        let walk: SQL
        let joined: SQL
        if let group, database.dialect.hasServer {
            (walk, joined) = walked(by: user, in: group, from: anchor, page)
        } else {
            walk = ""
            let ofGroup: SQL = group.map { "AND group_id = \($0)" } ?? ""
            joined = """
                SELECT chat_id AS id, seq FROM chat_users
                WHERE user_id = \(user) AND \(Chat.isKeptChatUser) AND \(range) \(ofGroup)
                ORDER BY seq \(order) LIMIT \(count)
                """
        }
        let ofMember: SQL = group.map { "AND group_members.group_id = \($0)" } ?? ""
        let firstOfGroup: SQL = """
            SELECT id, seq FROM chats WHERE chats.group_id = group_members.group_id AND \(range)
            ORDER BY seq \(order) LIMIT \(count)
            """
        let ofGroups: SQL =
            database.dialect.hasServer
            ? """
            SELECT newest.id, newest.seq FROM group_members
            CROSS JOIN LATERAL (\(firstOfGroup)) AS newest
            """
            : """
            SELECT chats.id, chats.seq FROM group_members
            CROSS JOIN chats ON chats.id IN (SELECT id FROM (\(firstOfGroup)))
            """
        let own: SQL =
            group == nil
            ? """
            UNION ALL SELECT id, seq FROM (
                SELECT id, seq FROM chats
                WHERE user_id = \(user) AND group_id IS NULL AND \(range)
                ORDER BY seq \(order) LIMIT \(count)) AS own
            """ : ""
        // The page is found before its chats are read: PostgreSQL would otherwise walk all chats in their
        // order until the page is full.
        let rows = try await database.query(
            """
            \(walk) SELECT \(unsafe: Chat.columns) FROM (
                SELECT id, MAX(seq) AS place FROM (
                    SELECT id, seq FROM (\(joined)) AS joined
                    UNION ALL SELECT id, seq FROM (
                        \(ofGroups) WHERE group_members.user_id = \(user)
                            AND \(Group.isKeptMembership) \(ofMember)
                        ORDER BY seq \(order) LIMIT \(count)) AS of_groups
                    \(own)) AS found
                GROUP BY id ORDER BY place \(order) LIMIT \(count)) AS page
            JOIN chats ON chats.id = page.id ORDER BY page.place \(order)
            """)
        return Listing(read: try rows.map(Chat.init(row:)), for: page)
    }

    /// The chats of a group to which a user was added, one look-up in the index after the other: PostgreSQL
    /// takes user and group for independent, expects a few rows, and would read and sort all of them.
    private func walked(
        by user: User.ID, in group: Group.ID, from anchor: Int64?, _ page: Page
    ) -> (walk: SQL, joined: SQL) {
        let (nearest, further): (SQL, SQL) =
            page.isForward
            ? ("MIN", "chat_users.seq > walked.seq")
            : ("MAX", "chat_users.seq > 0 AND chat_users.seq < walked.seq")
        return (
            """
            WITH RECURSIVE walked (seq, step) AS (
                SELECT CAST(\(anchor ?? .max) AS BIGINT), 0
                UNION ALL SELECT (
                    SELECT \(nearest)(chat_users.seq) FROM chat_users
                    WHERE chat_users.user_id = \(user) AND chat_users.group_id = \(group)
                        AND \(further)), step + 1
                FROM walked WHERE seq IS NOT NULL AND step < \(page.limit + 1))
            """,
            """
            SELECT found.id, found.seq FROM walked JOIN chats AS found ON found.seq = walked.seq
            WHERE walked.step > 0 AND \(group) NOT IN (SELECT id FROM deletions)
            """
        )
    }

    package func update(
        _ id: Chat.ID, _ change: ChatChange, by user: User.ID, now: Timestamp
    ) async throws -> Chat {
        try await transaction(inTurn: id.text) { transaction in
            let rows = try await transaction.query(
                """
                UPDATE chats SET name = COALESCE(\(change.name), name),
                    model = COALESCE(\(change.model), model), updated_at = \(now)
                WHERE id = \(id) AND \(Chat.isOwned(by: user))
                RETURNING \(unsafe: Chat.columns)
                """)
            guard let row = rows.first else {
                throw try await transaction.refusal(of: id, to: user)
            }
            return try Chat(row: row)
        }
    }

    package func deleteChat(_ id: Chat.ID, by user: User.ID, now: Timestamp) async throws {
        try await transaction(inTurn: id.text, CounterName.revocations.turn) { transaction in
            let count = try await transaction.execute(
                "DELETE FROM chats WHERE id = \(id) AND \(Chat.isOwned(by: user))")
            guard count > 0 else { throw try await transaction.refusal(of: id, to: user) }
            try await transaction.send(
                "INSERT INTO deleted_chats (id) VALUES (\(id)) ON CONFLICT (id) DO NOTHING")
            var budget = SweepBudget()
            _ = try await transaction.sweepMessages(of: id.text, &budget)
            // Last: other transactions that write a revocation wait from here on.
            try await transaction.revoke(Revocation(chat: id), now: now)
        }
    }

    package func users(of id: Chat.ID) async throws -> [User] {
        let rows = try await database.query(
            """
            SELECT \(unsafe: User.columns) FROM users WHERE \(User.isKept) AND id IN (
                SELECT user_id FROM chat_users WHERE chat_id = \(id)
                UNION SELECT user_id FROM chats WHERE id = \(id) AND (group_id IS NULL
                    OR EXISTS (SELECT 1 FROM group_members
                        WHERE group_members.group_id = chats.group_id
                            AND group_members.user_id = chats.user_id)))
            ORDER BY id
            """)
        return try rows.map(User.init(row:))
    }

    package func addUser(
        _ added: UserReference, to id: Chat.ID, by user: User.ID, now: Timestamp
    ) async throws {
        try await transaction(inTurn: id.text) { transaction in
            try await transaction.lock(
                "SELECT id FROM chats WHERE id = \(id) FOR NO KEY UPDATE")
            try await transaction.demandOwner(user, of: id)
            let reference = added
            guard let added = try await transaction.user(reference) else {
                throw reference.absence
            }
            let counts = try await transaction.query(
                "SELECT COUNT(*) AS count FROM chat_users WHERE chat_id = \(id)")
            guard try counts.first?.integer("count") ?? 0 < Int64(Chat.userLimit) else {
                throw Failure.invalid("user_id", "A chat has at most \(Chat.userLimit) users.")
            }
            // The owner is a user of the chat already, in a group's chat by being a member.
            try await transaction.send(
                """
                INSERT INTO chat_users (chat_id, user_id, created_at, seq, owner_id, group_id)
                SELECT id, \(added), \(now), seq, user_id, group_id FROM chats
                WHERE id = \(id) AND (user_id <> \(added) OR group_id IS NOT NULL)
                ON CONFLICT (chat_id, user_id) DO NOTHING
                """)
        }
    }

    package func removeUser(
        _ removed: UserReference, from id: Chat.ID, by user: User.ID, now: Timestamp
    ) async throws {
        try await transaction(inTurn: id.text, CounterName.revocations.turn) { transaction in
            let access = try await transaction.query(Chat.accessQuery(id, user))
            guard let access = try access.first.flatMap(ChatAccess.init(row:)) else {
                throw Failure.notFound("chat")
            }
            let found = try await transaction.user(removed)
            guard access.role == .owner || found == user else { throw Failure.notOwner("chat") }
            guard let found else { throw removed.absence }
            let count = try await transaction.execute(
                "DELETE FROM chat_users WHERE chat_id = \(id) AND user_id = \(found)")
            if count > 0 {
                try await transaction.revoke(Revocation(user: found, chat: id), now: now)
            }
            let left = try await transaction.query(Chat.accessQuery(id, found))
            guard left.isEmpty else {
                throw Failure.invalid(
                    "user_id",
                    access.chat.groupID == nil
                        ? "The owner stays in the chat. Delete it instead."
                        : "The user is in the chat as a member of its group. Remove it there.")
            }
        }
    }

    /// The condition on `seq` for a page of a table. Throws as `anchor`.
    func range(of page: Page, in table: String, where condition: SQL) async throws -> SQL {
        page.range(from: try await anchor(of: page, in: table, where: condition))
    }

    /// The `seq` of a page's anchor; nil for the newest page, which has none. Throws `invalidRequest` when
    /// the anchor names no row for which `condition` holds.
    private func anchor(
        of page: Page, in table: String, where condition: SQL
    ) async throws -> Int64? {
        guard let anchor = page.anchor else { return nil }
        let rows = try await database.query(
            "SELECT seq FROM \(unsafe: table) WHERE id = \(anchor) AND \(condition)")
        guard let seq = try rows.first?.sequence("seq") else { throw page.unknownAnchor }
        return seq
    }
}

extension Page {
    /// The rows on the page's side of its anchor; all rows where there is no anchor.
    fileprivate func range(from anchor: Int64?) -> SQL {
        guard let anchor else { return "seq > 0" }
        return isForward ? "seq > \(anchor)" : "seq < \(anchor)"
    }

    /// The message about an anchor that names no row.
    var unknownAnchor: Failure {
        .invalid(parameter, "There is nothing with this id in the list.")
    }
}

extension Chat {
    /// The columns that `init(row:)` reads.
    static let columns = """
        chats.id, chats.name, chats.model, chats.user_id, chats.group_id, chats.created_at,
        chats.updated_at
        """

    init(row: Row) throws {
        self.init(
            id: try row.id("id"), name: try row.text("name"), model: try row.text("model"),
            userID: try row.id("user_id"), groupID: try row.optionalID("group_id"),
            createdAt: try row.timestamp("created_at"), updatedAt: try row.timestamp("updated_at"))
    }

    /// Holds for chats that `user` owns: its own ones, those of its groups, and those it made in a
    /// group of which it is still a member.
    static func isOwned(by user: User.ID) -> SQL {
        """
        (\(isKept) AND CASE WHEN chats.group_id IS NULL THEN chats.user_id = \(user)
        ELSE (SELECT groups.owner_id FROM groups WHERE groups.id = chats.group_id) = \(user)
            OR (chats.user_id = \(user) AND \(isAccessibleToMember(user))) END)
        """
    }

    /// Holds for chats that `user` can read. With EXISTS in the place of selects of one value
    /// PostgreSQL may read all chat users and memberships of the user to check one chat.
    static func isAccessible(by user: User.ID) -> SQL {
        """
        (\(isKept) AND ((chats.group_id IS NULL AND chats.user_id = \(user))
        OR (SELECT 1 FROM chat_users
            WHERE chat_users.chat_id = chats.id AND chat_users.user_id = \(user)) = 1
        OR \(isAccessibleToMember(user))))
        """
    }

    private static func isAccessibleToMember(_ user: User.ID) -> SQL {
        """
        (SELECT 1 FROM group_members
            WHERE group_members.group_id = chats.group_id AND group_members.user_id = \(user)) = 1
        """
    }

    /// Reads a chat with the access that `user` has to it; no row where there is none.
    static func accessQuery(_ id: Chat.ID, _ user: User.ID) -> SQL {
        """
        SELECT \(unsafe: columns), CASE WHEN \(isOwned(by: user)) THEN 2 ELSE 1 END AS role
        FROM chats WHERE id = \(id) AND \(isAccessible(by: user))
        """
    }
}

extension ChatAccess {
    init?(row: Row) throws {
        guard let role = ChatRole(rawValue: try row.integer("role")) else { return nil }
        self.init(chat: try Chat(row: row), role: role)
    }
}

extension Failure {
    static func notOwner(_ noun: String) -> Failure {
        Failure(.forbidden, "Only the owner of the \(noun) may do this.")
    }
}

extension Transaction {
    /// Why a chat could not be changed by `user`.
    fileprivate func refusal(of id: Chat.ID, to user: User.ID) async throws -> Failure {
        let rows = try await query(Chat.accessQuery(id, user))
        return rows.isEmpty ? .notFound("chat") : .notOwner("chat")
    }

    fileprivate func demandOwner(_ user: User.ID, of id: Chat.ID) async throws {
        let rows = try await query(
            "SELECT id FROM chats WHERE id = \(id) AND \(Chat.isOwned(by: user))")
        if rows.isEmpty { throw try await refusal(of: id, to: user) }
    }

    /// The id of the user that a reference names.
    func user(_ reference: UserReference) async throws -> User.ID? {
        let rows = try await query(
            """
            SELECT id FROM users
            WHERE (id = \(reference.text) OR folded_name = \(reference.foldedName))
                AND \(User.isKept)
            """)
        return try rows.first?.id("id")
    }
}
