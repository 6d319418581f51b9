/// One endpoint of our own: what the router, the reading of parameters and the test of rights go by.
package struct Endpoint: Sendable {
    /// Who may call an endpoint.
    package enum Access: Sendable {
        /// Everybody, since a caller gets a credential here. The answer sets the cookie, but not for a page
        /// of a foreign origin that may call.
        case open
        /// Everybody with a valid credential.
        case credential
        /// As `credential`, which may also be the parameter `token`; GET acts, too. The answer clears
        /// the cookie, likewise.
        case logout
    }

    package let operation: Operation
    package let path: String
    package let methods: [String]
    package let access: Access
    /// The names of all parameters that the endpoint takes.
    package let parameters: [String]

    init(
        _ operation: Operation, _ path: String, _ methods: [String], _ parameters: [String] = [],
        _ access: Access = .credential
    ) {
        self.operation = operation
        self.path = path
        self.methods = methods
        self.access = access
        self.parameters = parameters
    }
}

/// What an endpoint does: the name under which its handler is found.
package enum Operation: Sendable, CaseIterable {
    case createChat, readChat, updateChat, deleteChat, prompt, stopReply, indexChats
    case addChatUser, removeChatUser
    case createGroup, deleteGroup, readGroup, updateGroup, indexGroups
    case indexMembers, addMembers, removeMembers
    case signUp, logIn, logOut, readUser, updateUser, readSession, updatePassword
}
