internal import Formats
internal import Gateway
internal import ProxyGPT

extension API {
    /// `/group/create`.
    func createGroup(_ call: Call) async throws -> Response {
        let caller = try call.authenticated()
        let parameters = try call.parsedParameters()
        let name = try parameters.required(Known.groupName)
        let now = clock.now()
        let group = Group(
            id: Group.ID(identifiers.next()), name: name,
            description: try parameters.value(of: Known.description) ?? "", ownerID: caller.user.id,
            createdAt: now, updatedAt: now)
        call.event.groupID = group.id.text
        try await store.create(group)
        return Response(json: group.view)
    }

    /// `/group/read`: the group's fields, alone and on top, and a page of its members.
    func readGroup(_ call: Call) async throws -> Response {
        let group = try await openGroup(call)
        let members = try await store.members(of: group.id, try call.parsedParameters().page())
        var answer = PagedAnswer()
        for member in group.members { await answer.add(member.name, member.value) }
        await answer.add("group", group.view)
        await answer.add("members", members, \.publicView)
        return answer.response()
    }

    /// `/group/index`: the groups one is a member of.
    func indexGroups(_ call: Call) async throws -> Response {
        let caller = try call.authenticated()
        let groups = try await store.groups(of: caller.user.id, try call.parsedParameters().page())
        return await Response(groups, "groups", \.view)
    }

    /// `/group/update`: what is absent stays; `owner_id` hands the group on.
    func updateGroup(_ call: Call) async throws -> Response {
        let caller = try call.authenticated()
        let parameters = try call.parsedParameters()
        let id = try groupID(call)
        let change = GroupChange(
            name: try parameters.value(of: Known.groupName),
            description: try parameters.value(of: Known.description),
            owner: try parameters.value(of: Known.owner))
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
        let members = try await store.members(of: group.id, try call.parsedParameters().page())
        return await Response(members, "users", \.publicView)
    }

    /// `/group/members/add`: all of them or none.
    func addMembers(_ call: Call) async throws -> Response {
        let caller = try call.authenticated()
        try await store.addMembers(
            try call.parsedParameters().required(Known.users), to: try groupID(call),
            by: caller.user.id,
            now: clock.now())
        return Response(json: [:])
    }

    /// `/group/members/remove`: all of them or none.
    func removeMembers(_ call: Call) async throws -> Response {
        let caller = try call.authenticated()
        try await store.removeMembers(
            try call.parsedParameters().required(Known.users), from: try groupID(call),
            by: caller.user.id,
            now: clock.now())
        return Response(json: [:])
    }

    // MARK: - Parameters

    /// The group that the request names, noted in its event.
    private func groupID(_ call: Call) throws(Failure) -> Group.ID {
        let id = try call.parsedParameters().required(Known.group)
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
}
