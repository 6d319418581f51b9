/// A conversation with a model. The owner, added users and the members of its group can access it.
package struct Chat: Sendable, Equatable {
    package typealias ID = Identifier<Chat>

    package let id: ID
    package var name: String
    /// The name in the request; `Settings.resolved(model:)` returns the upstream's name.
    package var model: String
    /// The owner; in a group's chat only while this user is a member.
    package let userID: User.ID
    package let groupID: Group.ID?
    package let createdAt: Timestamp
    package var updatedAt: Timestamp

    package init(
        id: ID, name: String, model: String, userID: User.ID, groupID: Group.ID?,
        createdAt: Timestamp, updatedAt: Timestamp
    ) {
        self.id = id
        self.name = name
        self.model = model
        self.userID = userID
        self.groupID = groupID
        self.createdAt = createdAt
        self.updatedAt = updatedAt
    }

    /// The name of a chat that is created without one.
    package static let defaultName = "general"

    /// The most users that the owner may add to one chat.
    package static let userLimit = 1000
}

/// The role of a user in a chat or a group.
package enum ChatRole: Int64, Sendable, Comparable {
    /// May read and prompt.
    case member = 1
    /// May do everything.
    case owner = 2

    package static func < (left: ChatRole, right: ChatRole) -> Bool {
        left.rawValue < right.rawValue
    }
}

/// A chat with the role of the user who asked for it.
package struct ChatAccess: Sendable, Equatable {
    package let chat: Chat
    package let role: ChatRole

    package init(chat: Chat, role: ChatRole) {
        self.chat = chat
        self.role = role
    }
}

/// The change of `/chat/update`; nil leaves a field as it is.
package struct ChatChange: Sendable {
    package var name: String?
    package var model: String?

    package init(name: String? = nil, model: String? = nil) {
        self.name = name
        self.model = model
    }
}
