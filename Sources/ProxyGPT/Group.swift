/// An organisation with members and chats of its own.
package struct Group: Sendable, Equatable {
    package typealias ID = Identifier<Group>

    package let id: ID
    package var name: String
    package var description: String
    /// Always one of the members.
    package var ownerID: User.ID
    package let createdAt: Timestamp
    package var updatedAt: Timestamp

    package init(
        id: ID, name: String, description: String, ownerID: User.ID, createdAt: Timestamp,
        updatedAt: Timestamp
    ) {
        self.id = id
        self.name = name
        self.description = description
        self.ownerID = ownerID
        self.createdAt = createdAt
        self.updatedAt = updatedAt
    }

    /// How many characters a name and a description have at most.
    package static let nameLimit = 120
    package static let descriptionLimit = 2000
}

/// What `/group/update` writes; nil leaves a field as it is.
package struct GroupChange: Sendable {
    package var name: String?
    package var description: String?
    /// Who is to own the group from now on: a member, by id or name.
    package var owner: UserReference?

    package init(
        name: String? = nil, description: String? = nil, owner: UserReference? = nil
    ) {
        self.name = name
        self.description = description
        self.owner = owner
    }
}

/// Names a user by id or by name. No name looks like an id, so nothing stands for two users.
package struct UserReference: Sendable, Hashable {
    package let text: String
    package let foldedName: String

    package init(_ text: String) {
        self.text = text
        foldedName = Username.folded(text)
    }
}
