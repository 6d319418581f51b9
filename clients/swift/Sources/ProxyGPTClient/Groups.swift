/// Groups of users.
public struct Groups: Sendable {
    let connection: Connection

    /// Makes a group, whose owner and first member is the client's user.
    public func create(name: String, description: String? = nil) async throws -> Group {
        try await connection.call(
            .change("/group/create", ["name": .text(name), "description": optional(description)]))
    }

    /// Reads a page of the groups of the client's user: the newest ones, unless `before` or `after` names a
    /// group.
    public func list(
        limit: Int? = nil, before: String? = nil, after: String? = nil
    ) async throws -> GroupPage {
        try await connection.call(.read("/group/index", pageFields(limit, before, after)))
    }

    /// All groups of the client's user, newest first.
    public func listAll(limit: Int? = nil) -> PagedList<Group> {
        PagedList(id: \.id) { before in
            let page = try await list(limit: limit, before: before)
            return (page.groups, page.hasMore)
        }
    }

    /// Reads a group and a page of its members.
    public func read(
        _ id: String, limit: Int? = nil, before: String? = nil, after: String? = nil
    ) async throws -> GroupDetails {
        var fields = pageFields(limit, before, after)
        fields["id"] = .text(id)
        return try await connection.call(.read("/group/read", fields))
    }

    /// Changes what is given of a group; `ownerID`, the id or name of a member, hands it on.
    public func update(
        _ id: String, name: String? = nil, description: String? = nil, ownerID: String? = nil
    ) async throws -> Group {
        try await connection.call(
            .change(
                "/group/update",
                [
                    "id": .text(id), "name": optional(name), "description": optional(description),
                    "owner_id": optional(ownerID),
                ]))
    }

    /// Deletes a group with its chats.
    public func delete(_ id: String) async throws {
        _ = try await connection.call(
            .change("/group/delete", ["id": .text(id)]), as: Connection.Nothing.self)
    }

    /// Reads a page of a group's members.
    public func members(
        _ id: String, limit: Int? = nil, before: String? = nil, after: String? = nil
    ) async throws -> UserPage {
        var fields = pageFields(limit, before, after)
        fields["id"] = .text(id)
        return try await connection.call(.read("/group/members", fields))
    }

    /// All members of a group.
    public func membersAll(_ id: String, limit: Int? = nil) -> PagedList<User> {
        PagedList(id: \.id) { before in
            let page = try await members(id, limit: limit, before: before)
            return (page.users, page.hasMore)
        }
    }

    /// Makes users, by id or name, members of a group: all of them or none.
    public func addMembers(_ id: String, _ users: [String]) async throws {
        try await change("/group/members/add", id, users)
    }

    /// Ends the membership of users, by id or name: all of them or none.
    public func removeMembers(_ id: String, _ users: [String]) async throws {
        try await change("/group/members/remove", id, users)
    }

    private func change(_ path: String, _ id: String, _ users: [String]) async throws {
        _ = try await connection.call(
            .change(path, ["id": .text(id), "user_ids": .list(users)]), as: Connection.Nothing.self)
    }
}
