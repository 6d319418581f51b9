/// Somebody who signed up.
package struct User: Sendable, Equatable {
    package typealias ID = Identifier<User>

    package enum Role: String, Sendable {
        case user
        case admin
    }

    package let id: ID
    package var username: String
    package var firstName: String
    package var lastName: String
    package var role: Role
    package let createdAt: Timestamp
    package var updatedAt: Timestamp

    package init(
        id: ID, username: String, firstName: String = "", lastName: String = "", role: Role = .user,
        createdAt: Timestamp, updatedAt: Timestamp
    ) {
        self.id = id
        self.username = username
        self.firstName = firstName
        self.lastName = lastName
        self.role = role
        self.createdAt = createdAt
        self.updatedAt = updatedAt
    }
}

/// A login: whoever holds its token is the user.
package struct Session: Sendable, Equatable {
    package typealias ID = Identifier<Session>

    package let id: ID
    package let userID: User.ID
    package let createdAt: Timestamp
    /// Written at most once an hour, so it may lie up to an hour back.
    package var lastUsedAt: Timestamp
    package var expiresAt: Timestamp

    package init(
        id: ID, userID: User.ID, createdAt: Timestamp, lastUsedAt: Timestamp, expiresAt: Timestamp
    ) {
        self.id = id
        self.userID = userID
        self.createdAt = createdAt
        self.lastUsedAt = lastUsedAt
        self.expiresAt = expiresAt
    }
}

/// A user with the session that proved who it is.
package struct Caller: Sendable, Equatable {
    package let user: User
    package let session: Session

    package init(user: User, session: Session) {
        self.user = user
        self.session = session
    }
}

/// A user with what is needed to check its password. Never leaves the login.
package struct Login: Sendable {
    package let user: User
    /// As `PasswordHasher` encoded it.
    package let passwordHash: String
    /// The operator has shut the account: it has no sessions and gets none.
    package let isDisabled: Bool

    package init(user: User, passwordHash: String, isDisabled: Bool = false) {
        self.user = user
        self.passwordHash = passwordHash
        self.isDisabled = isDisabled
    }
}
