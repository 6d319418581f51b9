internal import EventLoop
package import ProxyGPT

extension SQLStore {
    package func create(_ new: NewUser, session: NewSession) async throws {
        try await database.transaction { transaction in
            try await transaction.insert(new)
            try await transaction.insert(session)
        }
    }

    package func login(foldedName: String) async throws -> Login? {
        try await login(
            """
            SELECT \(unsafe: User.columns), password_hash, disabled_at FROM users
            WHERE folded_name = \(foldedName)
            """)
    }

    package func login(id: User.ID) async throws -> Login? {
        try await login(
            """
            SELECT \(unsafe: User.columns), password_hash, disabled_at FROM users
            WHERE id = \(id)
            """)
    }

    private func login(_ sql: SQL) async throws -> Login? {
        guard let row = try await database.query(sql).first else { return nil }
        return Login(
            user: try User(row: row), passwordHash: try row.text("password_hash"),
            isDisabled: try row.optionalInteger("disabled_at") != nil)
    }

    package func update(
        _ id: User.ID, _ change: UserChange, now: Timestamp
    ) async throws -> User {
        do {
            return try await transaction(inTurn: id.text) { transaction in
                let rows = try await transaction.query(
                    """
                    UPDATE users SET
                        username = COALESCE(\(change.username?.text), username),
                        folded_name = COALESCE(\(change.username?.folded), folded_name),
                        first_name = COALESCE(\(change.firstName), first_name),
                        last_name = COALESCE(\(change.lastName), last_name),
                        updated_at = \(now)
                    WHERE id = \(id)
                    RETURNING \(unsafe: User.columns)
                    """)
                guard let row = rows.first else { throw Failure.notFound("user") }
                return try User(row: row)
            }
        } catch let error as DatabaseError where error.kind == .uniqueViolation {
            throw Failure.nameTaken
        }
    }

    package func replacePassword(
        of id: User.ID, expected: String, with hash: String, keeping: Session.ID, now: Timestamp
    ) async throws -> Bool {
        try await transaction(inTurn: id.text, CounterName.revocations.turn) { transaction in
            let count = try await transaction.execute(
                """
                UPDATE users SET password_hash = \(hash), updated_at = \(now)
                WHERE id = \(id) AND password_hash = \(expected)
                """)
            guard count > 0 else { return false }
            try await transaction.endSessions(of: id, keeping: keeping, now: now)
            return true
        }
    }

    package func strengthenPassword(
        of id: User.ID, expected: String, with hash: String
    ) async throws {
        _ = try await transaction(inTurn: id.text) { transaction in
            try await transaction.execute(
                """
                UPDATE users SET password_hash = \(hash)
                WHERE id = \(id) AND password_hash = \(expected)
                """)
        }
    }

    package func user(
        _ reference: UserReference, visibleTo viewer: User.ID
    ) async throws -> User? {
        let wanted: SQL =
            reference.isID
            ? "users.id = \(reference.text)" : "users.folded_name = \(reference.foldedName)"
        let rows = try await database.query(
            """
            SELECT \(unsafe: User.columns), \(User.visibility(to: "\(viewer)")) AS visibility
            FROM users WHERE \(wanted) AND \(User.isKept)
            """)
        guard let row = rows.first else { return nil }
        let user = try User(row: row)
        let isVisible =
            switch try row.optionalInteger("visibility").map(User.Visibility.init) {
            case .visible: true
            case .undecided: try await haveCommonChat(viewer, user.id)
            case .hidden, .none: false
            }
        return isVisible ? user : nil
    }

    /// Whether there is a chat to which both users were added. Leaps from one user's chats to the
    /// other's in the order of chat ids, so that chats between two of the other's cost nothing.
    /// SQLite, which works on the loop, leaps a few times in each turn: strangers may have added
    /// both users to any number of chats. PostgreSQL joins the chats that some leaps leave
    /// undecided.
    private func haveCommonChat(_ one: User.ID, _ other: User.ID) async throws -> Bool {
        var start = ""
        // In less than a millisecond.
        let leaps = database.dialect.hasServer ? 50 : 500
        while true {
            let rows = try await database.query(
                """
                WITH RECURSIVE leaps (chat_id, previous, step) AS (
                    SELECT MIN(chat_id), SUBSTR(MIN(chat_id), 1, 0), 0 FROM chat_users
                    WHERE user_id = \(one) AND chat_id > \(start)
                    UNION ALL
                    SELECT CASE WHEN step % 2 = 0 THEN \(User.nextChatUser(of: other))
                        ELSE \(User.nextChatUser(of: one)) END, chat_id, step + 1
                    FROM leaps WHERE chat_id <> previous AND step < \(leaps))
                SELECT previous, chat_id <> previous AS goes_on, EXISTS (
                    SELECT 1 FROM chat_users WHERE chat_users.user_id = \(one)
                        AND chat_users.chat_id = leaps.chat_id AND \(Chat.isKeptChatUser)) AS is_kept
                FROM leaps WHERE chat_id IS NOT NULL AND step > 0
                    AND (chat_id = previous OR step = \(leaps))
                """)
            guard let row = rows.first else { return false }
            if try row.integer("goes_on") == 0, try row.integer("is_kept") != 0 { return true }
            start = try row.text("previous")
            guard !database.dialect.hasServer else {
                return try await haveCommonChat(one, other, behind: start)
            }
            await EventLoop.sleep(milliseconds: 0)
        }
    }

    private func haveCommonChat(
        _ one: User.ID, _ other: User.ID, behind start: String
    ) async throws -> Bool {
        try await !database.query(
            """
            SELECT 1 AS found FROM chat_users
            JOIN chat_users AS others ON others.chat_id = chat_users.chat_id
            WHERE chat_users.user_id = \(one) AND others.user_id = \(other)
                AND chat_users.chat_id > \(start) AND others.chat_id > \(start)
                AND \(Chat.isKeptChatUser)
            LIMIT 1
            """
        ).isEmpty
    }

    package func groups(of id: User.ID) async throws -> [String] {
        let rows = try await database.query(
            """
            SELECT groups.id FROM group_members
            JOIN groups ON groups.id = group_members.group_id
            WHERE group_members.user_id = \(id) AND \(Group.isKept) ORDER BY groups.seq
            """)
        return try rows.map { try $0.text("id") }
    }
}

extension User {
    /// The result of the one statement that decides whether a user is visible.
    fileprivate enum Visibility {
        case hidden, visible
        /// Both were added to many chats, which `haveCommonChat` compares.
        case undecided

        init(_ number: Int64) {
            self = number == 1 ? .visible : number == 2 ? .undecided : .hidden
        }
    }

    /// The `Visibility` of users to `viewer`, an expression, as a number or NULL.
    ///
    /// Two users share a group when each is a member or its owner. They share a chat when each is
    /// one of its users, the owner of a chat without a group, or in the group of a chat with one: a
    /// user that has left a group has no access to its chats, even to those it created.
    ///
    /// The groups of both users are read, and the chats to which one of the two was added, where
    /// those are few. Selects of one value, since PostgreSQL may answer EXISTS by reading all rows
    /// first, and in order, since it may otherwise read a whole table for want of statistics.
    fileprivate static func visibility(to viewer: SQL) -> SQL {
        """
        CASE WHEN users.id = \(viewer)
        OR (SELECT 1 FROM (\(Group.ids(of: viewer))) AS mine
            WHERE (SELECT 1 FROM group_members AS theirs
                    WHERE theirs.group_id = mine.group_id AND theirs.user_id = users.id) = 1
                OR (SELECT 1 FROM groups
                    WHERE groups.id = mine.group_id AND groups.owner_id = users.id) = 1
                OR \(isChatUser("users.id", inGroup: "mine.group_id"))
            LIMIT 1) = 1
        OR (SELECT 1 FROM (\(Group.ids(of: "users.id"))) AS theirs
            WHERE \(isChatUser(viewer, inGroup: "theirs.group_id")) LIMIT 1) = 1
        OR \(isChatUser(viewer, inChatsOf: "users.id"))
        OR \(isChatUser("users.id", inChatsOf: viewer))
        THEN 1
        WHEN \(isInFewChats(viewer)) THEN \(areInCommonChat(viewer, "users.id"))
        WHEN \(isInFewChats("users.id")) THEN \(areInCommonChat("users.id", viewer))
        ELSE 2 END
        """
    }

    /// The first chat of a user at the position of `leaps` or behind it.
    fileprivate static func nextChatUser(of user: User.ID) -> SQL {
        """
        (SELECT MIN(chat_users.chat_id) FROM chat_users
            WHERE chat_users.user_id = \(user) AND chat_users.chat_id >= leaps.chat_id)
        """
    }

    private static func isChatUser(_ user: SQL, _ condition: SQL, _ order: SQL = "") -> SQL {
        """
        (SELECT 1 FROM chat_users WHERE chat_users.user_id = \(user) AND \(condition)
            AND \(Chat.isKeptChatUser) \(order) LIMIT 1) = 1
        """
    }

    private static func isChatUser(_ user: SQL, inGroup group: SQL) -> SQL {
        isChatUser(user, "\(isOnly("chat_users.group_id", group))", "ORDER BY chat_users.group_id")
    }

    private static func isChatUser(_ user: SQL, inChatsOf owner: SQL) -> SQL {
        isChatUser(
            user, "\(isOnly("chat_users.owner_id", owner)) AND chat_users.group_id IS NULL",
            "ORDER BY chat_users.owner_id")
    }

    /// Compares a column with one value, as a range in the order of an index: a value that
    /// PostgreSQL believes to be in most rows would otherwise be searched in all of them, one after
    /// the other.
    private static func isOnly(_ column: String, _ value: SQL) -> SQL {
        "\(unsafe: column) >= \(value) AND \(unsafe: column) <= \(value)"
    }

    /// The number of chats up to which reading all of them costs about as much as a statement does.
    private static let fewChats = 100

    private static func isInFewChats(_ user: SQL) -> SQL {
        """
        (SELECT COUNT(*) FROM
            (SELECT 1 AS one FROM chat_users WHERE chat_users.user_id = \(user)
            ORDER BY chat_users.seq LIMIT \(fewChats)) AS few) < \(fewChats)
        """
    }

    private static func areInCommonChat(_ walked: SQL, _ other: SQL) -> SQL {
        """
        (SELECT 1 FROM chat_users AS walked WHERE walked.user_id = \(walked)
            AND \(isChatUser(other, "chat_users.chat_id = walked.chat_id"))
            ORDER BY walked.seq LIMIT 1)
        """
    }
}

extension Failure {
    fileprivate static let nameTaken = Failure(
        .conflict, "This user name is taken.", parameter: "username")
}

extension Transaction {
    /// Adds a user. Throws `conflict` when another one has the folded name.
    func insert(_ new: NewUser) async throws {
        let user = new.user
        let inserted = try await query(
            """
            INSERT INTO users (id, username, folded_name, first_name, last_name, role,
                password_hash, created_at, updated_at)
            VALUES (\(user.id), \(user.username), \(new.foldedName), \(user.firstName),
                \(user.lastName), \(user.role.rawValue), \(new.passwordHash),
                \(user.createdAt), \(user.updatedAt))
            ON CONFLICT (folded_name) DO NOTHING
            RETURNING id
            """)
        guard !inserted.isEmpty else { throw Failure.nameTaken }
    }
}
