/// A conversation with a model: of its owner, of whom the owner added, and of a group's members.
package struct Chat: Sendable, Equatable {
    package typealias ID = Identifier<Chat>

    package let id: ID
    package var name: String
    /// As the user named it; `Settings.resolved(model:)` says what goes upstream.
    package var model: String
    /// The owner: in a group's chat only as long as it is a member.
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

    /// The name of a chat that was given none.
    package static let defaultName = "general"

    /// How many users the owner may add to one chat.
    package static let userLimit = 1000
}

/// What somebody is to a chat or a group, from which follows what it may do.
package enum ChatRole: Int64, Sendable, Comparable {
    /// May read and prompt.
    case member = 1
    /// May do everything.
    case owner = 2

    package static func < (left: ChatRole, right: ChatRole) -> Bool {
        left.rawValue < right.rawValue
    }
}

/// A chat as somebody who may see it sees it.
package struct ChatAccess: Sendable, Equatable {
    package let chat: Chat
    package let role: ChatRole

    package init(chat: Chat, role: ChatRole) {
        self.chat = chat
        self.role = role
    }
}

/// What `/chat/update` writes; nil leaves a field as it is.
package struct ChatChange: Sendable {
    package var name: String?
    package var model: String?

    package init(name: String? = nil, model: String? = nil) {
        self.name = name
        self.model = model
    }
}
