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

    /// The most characters of a name and of a description.
    package static let nameLimit = 120
    package static let descriptionLimit = 2000
}

/// The change of `/group/update`; nil leaves a field as it is.
package struct GroupChange: Sendable {
    package var name: String?
    package var description: String?
    /// The new owner of the group: a member, by id or name.
    package var owner: UserReference?

    package init(
        name: String? = nil, description: String? = nil, owner: UserReference? = nil
    ) {
        self.name = name
        self.description = description
        self.owner = owner
    }
}

/// A user's id or name. No name has the form of an id, so that a reference is never ambiguous.
package struct UserReference: Sendable {
    /// The text of the request; empty where it is too long for an id or a name.
    package let text: String
    /// Empty for an id.
    package let foldedName: String
    /// Whether it has the form of an id.
    package let isID: Bool
    private let parameter: String

    /// - Parameter parameter: the name of the request's parameter.
    package init(_ text: String, parameter: String = "user_id") {
        self.parameter = parameter
        isID = UUIDText.isShaped(text)
        foldedName = isID ? "" : Username.folded(text)
        self.text = isID || !foldedName.isEmpty ? text : ""
    }

    package init(_ id: User.ID, parameter: String = "user_id") {
        text = id.text
        foldedName = ""
        isID = true
        self.parameter = parameter
    }

    /// The form of the reference, for messages.
    package var sought: String { isID ? "with this id" : "of this name" }

    /// The failure where there is no such user.
    package var absence: Failure {
        Failure(.notFound, "There is no user \(sought).", parameter: parameter)
    }
}
