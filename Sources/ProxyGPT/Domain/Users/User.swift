/// A person with an account.
package struct User: Sendable, Equatable {
    package typealias ID = Identifier<User>

    package enum Role: String, CaseIterable, Sendable {
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

/// A login. The holder of its token acts as the user.
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

/// An authenticated user with the session.
package struct Caller: Sendable, Equatable {
    package let user: User
    package let session: Session

    package init(user: User, session: Session) {
        self.user = user
        self.session = session
    }
}

/// A user with the password hash, for the login alone.
package struct Login: Sendable {
    package let user: User
    /// As `PasswordHasher` encoded it.
    package let passwordHash: String
    /// Whether the operator has disabled the account, which then has no sessions and gets none.
    package let isDisabled: Bool

    package init(user: User, passwordHash: String, isDisabled: Bool = false) {
        self.user = user
        self.passwordHash = passwordHash
        self.isDisabled = isDisabled
    }
}
