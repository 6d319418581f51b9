internal import Gateway

extension API {
    /// Does what an endpoint is there for.
    func handle(_ operation: Operation, _ call: Call) async throws -> Response {
        switch operation {
        case .createChat: try await createChat(call)
        case .readChat: try await readChat(call)
        case .updateChat: try await updateChat(call)
        case .deleteChat: try await deleteChat(call)
        case .prompt: try await prompt(call)
        case .stopReply: try await stopReply(call)
        case .indexChats: try await indexChats(call)
        case .addChatUser: try await addChatUser(call)
        case .removeChatUser: try await removeChatUser(call)
        case .createGroup: try await createGroup(call)
        case .deleteGroup: try await deleteGroup(call)
        case .readGroup: try await readGroup(call)
        case .updateGroup: try await updateGroup(call)
        case .indexGroups: try await indexGroups(call)
        case .indexMembers: try await indexMembers(call)
        case .addMembers: try await addMembers(call)
        case .removeMembers: try await removeMembers(call)
        case .signUp: try await signup(call)
        case .logIn: try await login(call)
        case .logOut: try await logout(call)
        case .readUser: try await readUser(call)
        case .updateUser: try await updateUser(call)
        case .readSession: try await session(call)
        case .updatePassword: try await updatePassword(call)
        }
    }
}
