internal import EventLoop
internal import Formats
package import ProxyGPT

extension SQLStore {
    package func create(_ group: Group) async throws {
        try await transaction(inTurn: CounterName.groups.turn) { transaction in
            let seq = try await transaction.next(.groups)
            try await transaction.send(
                """
                INSERT INTO groups (id, seq, name, description, owner_id, created_at, updated_at)
                VALUES (\(group.id), \(seq), \(group.name), \(group.description),
                    \(group.ownerID), \(group.createdAt), \(group.updatedAt))
                """)
            try await transaction.addMember(group.ownerID, to: group.id, now: group.createdAt)
        }
    }

    package func group(_ id: Group.ID, for viewer: User.ID) async throws -> Group? {
        let rows = try await database.query(
            """
            SELECT \(unsafe: Group.columns) FROM groups
            WHERE id = \(id) AND \(Group.isAccessible(by: viewer))
            """)
        return try rows.first.map(Group.init(row:))
    }

    package func groups(of user: User.ID, _ page: Page) async throws -> Listing<Group> {
        let range = try await range(of: page, in: "groups", where: Group.isAccessible(by: user))
        let order: SQL = page.isForward ? "ASC" : "DESC"
        let rows = try await database.query(
            """
            SELECT \(unsafe: Group.columns) FROM group_members
            JOIN groups ON groups.id = group_members.group_id
            WHERE group_members.user_id = \(user) AND \(Group.isKept) AND \(range)
            ORDER BY groups.seq \(order) LIMIT \(page.limit + 1)
            """)
        return Listing(read: try rows.map(Group.init(row:)), for: page)
    }

    package func update(
        _ id: Group.ID, _ change: GroupChange, by user: User.ID, now: Timestamp
    ) async throws -> Group {
        try await transaction(inTurn: id.text) { transaction in
            try await transaction.lock(id)
            try await transaction.demandOwner(user, of: id)
            var owner: User.ID?
            if let reference = change.owner {
                guard let found = try await transaction.user(reference),
                    try await transaction.isMember(found, of: id)
                else {
                    throw Failure(
                        .notFound, "The group has no member \(reference.sought).",
                        parameter: "owner_id")
                }
                owner = found
            }
            let rows = try await transaction.query(
                """
                UPDATE groups SET name = COALESCE(\(change.name), name),
                    description = COALESCE(\(change.description), description),
                    owner_id = COALESCE(\(owner), owner_id), updated_at = \(now)
                WHERE id = \(id)
                RETURNING \(unsafe: Group.columns)
                """)
            guard let row = rows.first else { throw Failure.notFound("group") }
            return try Group(row: row)
        }
    }

    package func deleteGroup(_ id: Group.ID, by user: User.ID, now: Timestamp) async throws {
        try await transaction(inTurn: id.text, CounterName.revocations.turn) { transaction in
            try await transaction.lock(id)
            try await transaction.demandOwner(user, of: id)
            try await transaction.deleteGroup(id, now: now)
        }
    }

    package func members(of id: Group.ID, _ page: Page) async throws -> Listing<User> {
        let anchor: SQL
        switch page.place {
        case .newest: anchor = "1 = 1"
        case .before(let user): anchor = "group_members.user_id < \(user)"
        case .after(let user): anchor = "group_members.user_id > \(user)"
        }
        let order: SQL = page.isForward ? "ASC" : "DESC"
        let rows = try await database.query(
            """
            SELECT \(unsafe: User.columns) FROM (
                SELECT user_id FROM group_members
                WHERE group_members.group_id = \(id) AND \(anchor)
                ORDER BY group_members.user_id \(order) LIMIT \(page.limit + 1)) AS page
            JOIN users ON users.id = page.user_id ORDER BY page.user_id \(order)
            """)
        return Listing(read: try rows.map(User.init(row:)), for: page)
    }

    package func addMembers(
        _ added: [UserReference], to id: Group.ID, by user: User.ID, now: Timestamp
    ) async throws {
        try await transaction(inTurn: id.text) { transaction in
            try await transaction.lock(id)
            try await transaction.demandOwner(user, of: id)
            for reference in added {
                let member = try await transaction.existingUser(reference)
                try await transaction.addMember(member, to: id, now: now)
            }
        }
    }

    package func removeMembers(
        _ removed: [UserReference], from id: Group.ID, by user: User.ID, now: Timestamp
    ) async throws {
        while true {
            let startedAt = monotonicMilliseconds()
            let isDone = try await transaction(inTurn: id.text, CounterName.revocations.turn) {
                transaction in
                try await transaction.lock(id)
                let members = try await transaction.removable(removed, from: id, by: user)
                // Chat users first, in short transactions: a member has access without being a chat
                // user.
                for member in members
                where try await transaction.removeSomeChatUsers(of: member, in: id) {
                    try await transaction.revoke(Revocation(user: member, group: id), now: now)
                    return false
                }
                for member in members {
                    try await transaction.removeMember(member, from: id, now: now)
                }
                return true
            }
            if isDone { return }
            await database.giveWay(since: startedAt)
        }
    }
}

extension Group {
    /// The groups of which a user, named by an expression, is a member or the owner, as `group_id`.
    static func ids(of user: SQL) -> SQL {
        """
        SELECT group_id FROM group_members WHERE group_members.user_id = \(user)
            AND \(isKeptMembership)
        UNION ALL SELECT id AS group_id FROM groups WHERE groups.owner_id = \(user) AND \(isKept)
        """
    }

    /// The columns that `init(row:)` reads.
    static let columns = """
        groups.id, groups.name, groups.description, groups.owner_id, groups.created_at,
        groups.updated_at
        """

    init(row: Row) throws {
        self.init(
            id: try row.id("id"), name: try row.text("name"),
            description: try row.text("description"), ownerID: try row.id("owner_id"),
            createdAt: try row.timestamp("created_at"), updatedAt: try row.timestamp("updated_at"))
    }

    /// Holds for groups of which `user` is a member.
    static func isAccessible(by user: User.ID) -> SQL {
        """
        (\(isKept) AND (SELECT 1 FROM group_members
            WHERE group_members.group_id = groups.id AND group_members.user_id = \(user)) = 1)
        """
    }
}

extension Transaction {
    /// The group, when `user` is a member of it.
    fileprivate func group(_ id: Group.ID, for user: User.ID) async throws -> Group? {
        let rows = try await query(
            """
            SELECT \(unsafe: Group.columns) FROM groups
            WHERE id = \(id) AND \(Group.isAccessible(by: user))
            """)
        return try rows.first.map(Group.init(row:))
    }

    fileprivate func demandOwner(_ user: User.ID, of id: Group.ID) async throws {
        guard let group = try await group(id, for: user) else { throw Failure.notFound("group") }
        guard group.ownerID == user else { throw Failure.notOwner("group") }
    }

    fileprivate func isMember(_ user: User.ID, of id: Group.ID) async throws -> Bool {
        let rows = try await query(
            """
            SELECT 1 AS found FROM group_members WHERE group_id = \(id) AND user_id = \(user)
            """)
        return !rows.isEmpty
    }

    fileprivate func existingUser(_ reference: UserReference) async throws -> User.ID {
        if let user = try await user(reference) { return user }
        throw Failure(
            .notFound,
            "There is no user \(reference.sought): \(reference.text.beginning(bytes: 64)).",
            parameter: "user_ids")
    }

    /// The users that `removed` names, where `user` may remove all of them from the group.
    fileprivate func removable(
        _ removed: [UserReference], from id: Group.ID, by user: User.ID
    ) async throws -> [User.ID] {
        guard let group = try await group(id, for: user) else { throw Failure.notFound("group") }
        var members: [User.ID] = []
        for reference in removed {
            let found = try await self.user(reference)
            guard group.ownerID == user || found == user else { throw Failure.notOwner("group") }
            let member = try await existingUser(reference)
            guard member != group.ownerID else {
                throw Failure.invalid(
                    "user_ids", "The owner stays in the group. Hand it on first.")
            }
            members.append(member)
        }
        return members
    }

    /// Removes a user from as many chats of a group as one transaction may; true when chats may be
    /// left.
    fileprivate func removeSomeChatUsers(of user: User.ID, in id: Group.ID) async throws -> Bool {
        var budget = SweepBudget()
        let count = try await sweep(
            "chat_users", key: "chat_id", by: "seq",
            where: "user_id = \(user) AND group_id = \(id)", scope: "user_id = \(user) AND",
            &budget)
        return count > 0 && budget.isSpent
    }

    /// Locks the group, its members and the list of its chats until the transaction ends.
    func lock(_ id: Group.ID) async throws {
        try await lock("SELECT id FROM groups WHERE id = \(id) FOR UPDATE")
    }

    /// Adds a member; no effect when it is one already.
    func addMember(_ user: User.ID, to id: Group.ID, now: Timestamp) async throws {
        try await send(
            """
            INSERT INTO group_members (group_id, user_id, created_at)
            VALUES (\(id), \(user), \(now))
            ON CONFLICT (group_id, user_id) DO NOTHING
            """)
    }

    /// Removes a member from the group and from its chats.
    func removeMember(_ user: User.ID, from id: Group.ID, now: Timestamp) async throws {
        let memberships = try await execute(
            "DELETE FROM group_members WHERE group_id = \(id) AND user_id = \(user)")
        let chatUsers = try await execute(
            "DELETE FROM chat_users WHERE user_id = \(user) AND group_id = \(id)")
        let incompleteChatUsers = try await execute(
            """
            DELETE FROM chat_users WHERE user_id = \(user) AND seq = 0
                AND (SELECT group_id FROM chats WHERE chats.id = chat_users.chat_id) = \(id)
            """)
        guard memberships + chatUsers + incompleteChatUsers > 0 else { return }
        try await revoke(Revocation(user: user, group: id), now: now)
    }
}
