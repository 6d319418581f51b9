internal import EventLoop
package import ProxyGPT

// The operator's view of users and sessions. The event about a change is committed together with
// it.

extension SQLStore: AdminStore {
    package func accounts(
        after user: User.ID?, limit: Int, now: Timestamp
    ) async throws -> [Account] {
        let rows = try await database.query(
            """
            SELECT \(Account.columns(database.dialect.moment(now))) FROM users
            WHERE id > \(user?.text ?? "") AND \(User.isKept) ORDER BY id LIMIT \(limit)
            """)
        return try rows.map(Account.init(row:))
    }

    package func account(_ user: UserReference, now: Timestamp) async throws -> Account? {
        let rows = try await database.query(
            """
            SELECT \(Account.columns(database.dialect.moment(now))) FROM users
            WHERE (id = \(user.text) OR folded_name = \(user.foldedName)) AND \(User.isKept)
            """)
        return try rows.first.map(Account.init(row:))
    }

    package func create(_ new: NewUser, _ event: Event) async throws {
        let process = process
        try await database.transaction { transaction in
            try await transaction.insert(new)
            try await transaction.record(event, process: process)
        }
    }

    package func resetPassword(
        of id: User.ID, to hash: String, _ event: Event
    ) async throws -> Int {
        let process = process
        let sessions = try await countSessions(of: id)
        return try await database.transaction { transaction in
            let count = try await transaction.execute(
                """
                UPDATE users SET password_hash = \(hash), updated_at = \(event.timestamp)
                WHERE id = \(id)
                """)
            guard count > 0 else { throw Failure.notFound("user") }
            try await transaction.endSessions(of: id, now: event.timestamp)
            try await transaction.record(event, process: process)
            return sessions
        }
    }

    package func setDisabled(
        _ id: User.ID, _ isDisabled: Bool, _ event: Event
    ) async throws -> Bool {
        let process = process
        return try await database.transaction { transaction in
            let now = event.timestamp
            let change = try await transaction.query(
                """
                UPDATE users SET disabled_at = \(isDisabled ? now : nil), updated_at = \(now)
                WHERE id = \(id) AND disabled_at IS \(unsafe: isDisabled ? "NULL" : "NOT NULL")
                RETURNING id
                """)
            if change.isEmpty {
                let rows = try await transaction.query("SELECT id FROM users WHERE id = \(id)")
                guard !rows.isEmpty else { throw Failure.notFound("user") }
            } else if isDisabled {
                try await transaction.endSessions(of: id, now: now)
                try await transaction.stopReplies(to: id)
            }
            try await transaction.record(event, process: process)
            return !change.isEmpty
        }
    }

    // MARK: - Removing

    package func ownedData(of id: User.ID) async throws -> OwnedData {
        try OwnedData(row: try await database.query(OwnedData.query(id)).first)
    }

    package func deleteUser(
        _ id: User.ID, handingGroupsTo newOwner: User.ID?, _ event: Event
    ) async throws -> OwnedData {
        let process = process
        let now = event.timestamp
        let ownedData = try await ownedData(of: id)
        // Some at a time before, and in the end those that it has got meanwhile.
        while try await database.transaction({
            try await $0.handOn(groupsOf: id, to: newOwner, now: now)
        }) {}
        try await database.transaction { transaction in
            try await transaction.lock("SELECT id FROM users WHERE id = \(id) FOR UPDATE")
            try await transaction.stopReplies(to: id)
            _ = try await transaction.handOn(groupsOf: id, to: newOwner, now: now)
            try await transaction.deleteUser(id, now: now)
            try await transaction.record(event, process: process)
        }
        return ownedData
    }

    package func sweepDeletions() async throws -> Bool {
        switch try await database.sweepDeletions() {
        case .nothing: return false
        case .progress: return true
        case .blocked:
            await EventLoop.sleep(milliseconds: 20)
            return true
        }
    }

    // MARK: - Sessions

    package func openSessions(
        of user: User.ID?, after session: Session.ID?, limit: Int, now: Timestamp
    ) async throws -> [OpenSession] {
        let ofUser: SQL = user.map { "AND sessions.user_id = \($0)" } ?? ""
        let moment = database.dialect.moment(now)
        let rows = try await database.query(
            """
            SELECT sessions.id, sessions.user_id, sessions.created_at, sessions.last_used_at,
                sessions.expires_at, users.username
            FROM sessions JOIN users ON users.id = sessions.user_id
            WHERE sessions.id > \(session?.text ?? "") AND sessions.expires_at > \(moment)
                AND \(Session.isKept) \(ofUser)
            ORDER BY sessions.id LIMIT \(limit)
            """)
        return try rows.map { row in
            OpenSession(
                session: Session(
                    id: try row.id("id"), userID: try row.id("user_id"),
                    createdAt: try row.timestamp("created_at"),
                    lastUsedAt: try row.timestamp("last_used_at"),
                    expiresAt: try row.timestamp("expires_at")),
                username: try row.text("username"))
        }
    }

    package func endSession(_ id: Session.ID, _ event: Event) async throws -> Bool {
        let process = process
        return try await database.transaction { transaction in
            let rows = try await transaction.query(
                "DELETE FROM sessions WHERE id = \(id) RETURNING user_id")
            guard let row = rows.first else { return false }
            try await transaction.revoke(Revocation(session: id), now: event.timestamp)
            var event = event
            event.userID = try row.id("user_id")
            try await transaction.record(event, process: process)
            return true
        }
    }

    package func endSessions(of user: User.ID, _ event: Event) async throws -> Int {
        let process = process
        let count = try await countSessions(of: user)
        try await database.transaction { transaction in
            try await transaction.endSessions(of: user, now: event.timestamp)
            try await transaction.record(event, process: process)
        }
        return count
    }

    /// The number of a user's sessions. Counted before the transaction that ends them, so that no
    /// writer waits for the count.
    private func countSessions(of user: User.ID) async throws -> Int {
        let rows = try await database.query(
            """
            SELECT COUNT(*) AS count FROM users JOIN sessions ON sessions.user_id = users.id
            WHERE users.id = \(user) AND \(Session.isKept)
            """)
        return Int(try rows.first?.integer("count") ?? 0)
    }

    package func record(_ event: Event) async throws {
        let process = process
        try await database.transaction { try await $0.record(event, process: process) }
    }
}

extension Account {
    /// The columns that `init(row:)` reads. Of many sessions of one user so many are looked at that a page
    /// of users is read quickly.
    fileprivate static func columns(_ now: SQL) -> SQL {
        let open: SQL = """
            (SELECT last_used_at FROM sessions
                WHERE sessions.user_id = users.id AND expires_at > \(now) AND \(Session.isKept)
                LIMIT \(mostSessions)) AS open
            """
        return """
            \(unsafe: User.columns), users.disabled_at,
            (SELECT COUNT(*) FROM \(open)) AS open_sessions,
            (SELECT MAX(last_used_at) FROM \(open)) AS last_used_at
            """
    }

    fileprivate init(row: Row) throws {
        self.init(
            user: try User(row: row),
            disabledAt: try row.optionalInteger("disabled_at").map(Timestamp.init(milliseconds:)),
            openSessions: try row.integer("open_sessions"),
            lastUsedAt: try row.optionalInteger("last_used_at").map(Timestamp.init(milliseconds:)))
    }
}

extension OwnedData {
    fileprivate static func query(_ id: User.ID) -> SQL {
        """
        SELECT
            (SELECT COUNT(*) FROM chats WHERE user_id = \(id) AND group_id IS NULL) AS chats,
            (SELECT COUNT(*) FROM groups WHERE owner_id = \(id)) AS groups,
            (SELECT COUNT(*) FROM chats JOIN groups ON groups.id = chats.group_id
                WHERE groups.owner_id = \(id)) AS chats_of_groups,
            (SELECT COUNT(*) FROM sessions WHERE user_id = \(id)) AS sessions
        """
    }

    fileprivate init(row: Row?) throws {
        guard let row else {
            self.init()
            return
        }
        self.init(
            chats: try row.integer("chats"), groups: try row.integer("groups"),
            chatsOfGroups: try row.integer("chats_of_groups"),
            sessions: try row.integer("sessions"))
    }
}

extension Transaction {
    /// Asks the processes that run the replies to a user to stop them.
    fileprivate func stopReplies(to id: User.ID) async throws {
        try await execute(
            """
            UPDATE messages SET stop_requested = 1
            WHERE user_id = \(id) AND state IN ('pending', 'streaming')
            """)
    }

    /// Gives some of a user's groups to `newOwner`, or marks them with their chats; false when the
    /// user owned none.
    fileprivate func handOn(
        groupsOf id: User.ID, to newOwner: User.ID?, now: Timestamp
    ) async throws -> Bool {
        let rows = try await query(
            "SELECT id FROM groups WHERE owner_id = \(id) AND \(Group.isKept) LIMIT 20")
        for row in rows {
            let group: Group.ID = try row.id("id")
            guard let newOwner else {
                try await deleteGroup(group, now: now)
                continue
            }
            try await addMember(newOwner, to: group, now: now)
            try await execute(
                "UPDATE groups SET owner_id = \(newOwner), updated_at = \(now) WHERE id = \(group)")
        }
        return !rows.isEmpty
    }
}
