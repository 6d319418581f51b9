internal import Formats
internal import Gateway
internal import ProxyGPT

extension API {
    /// `/group/create`.
    func createGroup(_ call: Call) async throws -> Response {
        let caller = try call.authenticated()
        let parameters = try call.given()
        guard let name = try groupName(parameters) else {
            throw Failure.invalid("name", "The parameter name is missing.")
        }
        let now = clock.now()
        let group = Group(
            id: Group.ID(identifiers.next()), name: name,
            description: try groupDescription(parameters) ?? "", ownerID: caller.user.id,
            createdAt: now, updatedAt: now)
        call.event.groupID = group.id.text
        try await store.create(group)
        return Response(json: group.view)
    }

    /// `/group/read`: the group's fields, alone and on top, and a page of its members.
    func readGroup(_ call: Call) async throws -> Response {
        let group = try await openGroup(call)
        let members = try await store.members(of: group.id, try call.given().page())
        var answer = PagedAnswer()
        for member in group.members { await answer.add(member.name, member.value) }
        await answer.add("group", group.view)
        await answer.add("members", members, \.publicView)
        return answer.response()
    }

    /// `/group/index`: the groups one is a member of.
    func indexGroups(_ call: Call) async throws -> Response {
        let caller = try call.authenticated()
        let groups = try await store.groups(of: caller.user.id, try call.given().page())
        return await Response(groups, "groups", \.view)
    }

    /// `/group/update`: what is absent stays; `owner_id` hands the group on.
    func updateGroup(_ call: Call) async throws -> Response {
        let caller = try call.authenticated()
        let parameters = try call.given()
        let id = try groupID(call)
        let change = GroupChange(
            name: try groupName(parameters), description: try groupDescription(parameters),
            owner: try parameters.user("owner_id"))
        let group = try await store.update(id, change, by: caller.user.id, now: clock.now())
        return Response(json: group.view)
    }

    /// `/group/delete`.
    func deleteGroup(_ call: Call) async throws -> Response {
        let caller = try call.authenticated()
        try await store.deleteGroup(try groupID(call), by: caller.user.id, now: clock.now())
        return Response(json: [:])
    }

    /// `/group/members`.
    func indexMembers(_ call: Call) async throws -> Response {
        let group = try await openGroup(call)
        let members = try await store.members(of: group.id, try call.given().page())
        return await Response(members, "users", \.publicView)
    }

    /// `/group/members/add`: all of them or none.
    func addMembers(_ call: Call) async throws -> Response {
        let caller = try call.authenticated()
        try await store.addMembers(
            try userReferences(call), to: try groupID(call), by: caller.user.id,
            now: clock.now())
        return Response(json: [:])
    }

    /// `/group/members/remove`: all of them or none.
    func removeMembers(_ call: Call) async throws -> Response {
        let caller = try call.authenticated()
        try await store.removeMembers(
            try userReferences(call), from: try groupID(call), by: caller.user.id,
            now: clock.now())
        return Response(json: [:])
    }

    // MARK: - Parameters

    /// How many users one request may name.
    private static let userLimit = 1000

    /// The group that the request names, noted in its event.
    private func groupID(_ call: Call) throws(Failure) -> Group.ID {
        let id: Group.ID = try call.given().requiredID("id", "group_id")
        call.event.groupID = id.text
        return id
    }

    /// The group that the request names, if the caller is a member.
    private func openGroup(_ call: Call) async throws -> Group {
        let caller = try call.authenticated()
        let id = try groupID(call)
        guard let group = try await store.group(id, for: caller.user.id) else {
            throw Failure.notFound("group")
        }
        return group
    }

    private func userReferences(_ call: Call) throws(Failure) -> [UserReference] {
        let texts = try call.given().list("user_ids") ?? []
        guard !texts.isEmpty else {
            throw .invalid("user_ids", "The parameter user_ids is missing.")
        }
        guard texts.count <= Self.userLimit else {
            throw .invalid("user_ids", "One request may name \(Self.userLimit) users.")
        }
        return texts.map { UserReference($0, parameter: "user_ids") }
    }

    private func groupName(_ parameters: Parameters) throws(Failure) -> String? {
        try parameters.line("name", limit: Group.nameLimit)
    }

    private func groupDescription(_ parameters: Parameters) throws(Failure) -> String? {
        guard let text = try parameters.text("description") else { return nil }
        guard text.utf8.count <= 4 * Group.descriptionLimit,
            text.unicodeScalars.count <= Group.descriptionLimit
        else {
            throw .invalid(
                "description", "A description has at most \(Group.descriptionLimit) characters.")
        }
        return text
    }
}
