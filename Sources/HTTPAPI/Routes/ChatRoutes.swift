internal import Formats
internal import Gateway
internal import ProxyGPT

extension API {
    /// `/chat/create`.
    func createChat(_ call: Call) async throws -> Response {
        let caller = try call.authenticated()
        let parameters = try call.parsedParameters()
        let now = clock.now()
        let chat = Chat(
            id: Chat.ID(identifiers.next()),
            name: try parameters.value(of: Known.chatName) ?? Chat.defaultName,
            model: try parameters.value(of: Known.model) ?? settings.defaultModel,
            userID: caller.user.id,
            groupID: try parameters.value(of: Known.inGroup), createdAt: now, updatedAt: now)
        call.event.chatID = chat.id.text
        call.event.groupID = chat.groupID?.text
        try await store.create(chat)
        return Response(json: chat.view)
    }

    /// `/chat/read`: the chat, its users, and a page of its messages.
    func readChat(_ call: Call) async throws -> Response {
        let parameters = try call.parsedParameters()
        let chat = try await openChat(call).chat
        let page = try parameters.page()
        let users = try await store.users(of: chat.id)
        let messages = try await store.messages(of: chat.id, page)
        var answer = PagedAnswer(capacity: messages.elements.reduce(0) { $0 + $1.size + 512 })
        await answer.add("chat", chat.view)
        await answer.add("users", users, \.publicView)
        await answer.add("messages", messages, \.view)
        return answer.response()
    }

    /// `/chat/index`: the chats of one's own, those one was added to, and those of one's groups.
    func indexChats(_ call: Call) async throws -> Response {
        let caller = try call.authenticated()
        let parameters = try call.parsedParameters()
        let chats = try await store.chats(
            of: caller.user.id, in: try parameters.value(of: Known.ofGroup), try parameters.page())
        return await Response(chats, "chats", \.view)
    }

    /// `/chat/update`: what is absent stays.
    func updateChat(_ call: Call) async throws -> Response {
        let caller = try call.authenticated()
        let parameters = try call.parsedParameters()
        let id = try chatID(call)
        let change = ChatChange(
            name: try parameters.value(of: Known.chatName),
            model: try parameters.value(of: Known.model))
        let chat = try await store.update(id, change, by: caller.user.id, now: clock.now())
        return Response(json: chat.view)
    }

    /// `/chat/delete`.
    func deleteChat(_ call: Call) async throws -> Response {
        let caller = try call.authenticated()
        let id = try chatID(call)
        try await store.deleteChat(id, by: caller.user.id, now: clock.now())
        await prompts.forget(id)
        return Response(json: [:])
    }

    /// `/chat/user/add`.
    func addChatUser(_ call: Call) async throws -> Response {
        let caller = try call.authenticated()
        try await store.addUser(
            try call.parsedParameters().required(Known.user), to: try chatID(call),
            by: caller.user.id, now: clock.now())
        return Response(json: [:])
    }

    /// `/chat/user/remove`.
    func removeChatUser(_ call: Call) async throws -> Response {
        let caller = try call.authenticated()
        try await store.removeUser(
            try call.parsedParameters().required(Known.user), from: try chatID(call),
            by: caller.user.id, now: clock.now())
        return Response(json: [:])
    }

    // MARK: - Parameters

    /// The chat that the request names, noted in its event.
    func chatID(_ call: Call) throws(Failure) -> Chat.ID {
        let id = try call.parsedParameters().required(Known.chat)
        call.event.chatID = id.text
        return id
    }

    /// The chat that the request names, if the caller may see it.
    func openChat(_ call: Call) async throws -> ChatAccess {
        let caller = try call.authenticated()
        let id = try chatID(call)
        guard let access = try await store.access(to: id, of: caller.user.id) else {
            throw Failure.notFound("chat")
        }
        call.event.groupID = access.chat.groupID?.text
        return access
    }
}
