/// Keeps users and sessions. A method throws a `Failure` where its comment says so, and any other
/// error when the database fails. Returned values are committed.
package protocol UserStore: Sendable {
    /// Adds a user together with its first session, both or neither.
    /// Throws `conflict` when another user has the folded name.
    func create(_ user: NewUser, session: NewSession) async throws

    /// Finds a user by folded name, with its password hash.
    func login(foldedName: String) async throws -> Login?

    /// Finds a user by id, with its password hash.
    func login(id: User.ID) async throws -> Login?

    /// Finds the session of a token digest and its user. Expired and ended sessions are not found.
    func caller(tokenDigest: [UInt8], now: Timestamp) async throws -> Caller?

    /// Adds a session if the user's password hash still is `hash`, so that no login with an old
    /// password outlives that password; else false.
    func add(_ session: NewSession, ifPasswordHashIs hash: String) async throws -> Bool

    /// Prolongs a session after a use. No effect when the session has ended.
    func touch(_ session: Session.ID, lastUsedAt: Timestamp, expiresAt: Timestamp) async throws

    /// Ends the session of a token digest; false when there was none.
    func endSession(tokenDigest: [UInt8], now: Timestamp) async throws -> Bool

    /// Writes `change` and returns the changed user.
    /// Throws `conflict` when another user has the new name, `notFound` when the user is gone.
    func update(_ id: User.ID, _ change: UserChange, now: Timestamp) async throws -> User

    /// Replaces the password hash if it still is `expected`, and ends the user's sessions except
    /// `keeping`; else false.
    func replacePassword(
        of id: User.ID, expected: String, with hash: String, keeping: Session.ID, now: Timestamp
    ) async throws -> Bool

    /// Replaces a hash of the same password by a stronger one, if it still is `expected`.
    func strengthenPassword(of id: User.ID, expected: String, with hash: String) async throws

    /// The user if `viewer` may see it: the viewer itself, or a user with a chat or group in
    /// common.
    func user(_ reference: UserReference, visibleTo viewer: User.ID) async throws -> User?

    /// Ids of the groups that the user is a member of, oldest first.
    func groups(of id: User.ID) async throws -> [String]
}

extension UserStore {
    /// The user `id` if `viewer` may see it.
    package func user(_ id: User.ID, visibleTo viewer: User.ID) async throws -> User? {
        try await user(UserReference(id), visibleTo: viewer)
    }
}

/// Counts login attempts, for `LoginThrottle`.
package protocol LoginFailureStore: Sendable {
    /// Counts an attempt as running, if the throttle admits it beside all others. Check and count
    /// are one statement. An attempt that is not admitted is not counted.
    func beginLogin(
        _ throttle: LoginThrottle, now: Timestamp
    ) async throws -> LoginThrottle.Admission

    /// Ends a failed attempt: each of the throttle's counters rises, or starts anew where its last
    /// failure is long ago.
    func failLogin(_ throttle: LoginThrottle, now: Timestamp) async throws

    /// Ends a successful attempt: failures of the account are forgotten, but not those of the
    /// address.
    func succeedLogin(_ throttle: LoginThrottle) async throws

    /// Ends an attempt whose result is unknown.
    func abandonLogin(_ throttle: LoginThrottle) async throws
}

/// One counter of login attempts.
package struct LoginFailures: Sendable, Equatable {
    package let count: Int64
    package let lastAt: Timestamp
    /// Attempts that have begun and not ended.
    package let underWay: Int64

    package init(count: Int64, lastAt: Timestamp, underWay: Int64 = 0) {
        self.count = count
        self.lastAt = lastAt
        self.underWay = underWay
    }
}

package struct NewUser: Sendable {
    package let user: User
    package let foldedName: String
    package let passwordHash: String

    package init(user: User, foldedName: String, passwordHash: String) {
        self.user = user
        self.foldedName = foldedName
        self.passwordHash = passwordHash
    }
}

package struct NewSession: Sendable {
    package let session: Session
    /// SHA-256 of the token; the token itself is not stored.
    package let tokenDigest: [UInt8]

    package init(session: Session, tokenDigest: [UInt8]) {
        self.session = session
        self.tokenDigest = tokenDigest
    }
}

/// The change of `/user/update`; nil leaves a field as it is.
package struct UserChange: Sendable {
    package var username: Username?
    package var firstName: String?
    package var lastName: String?

    package init(username: Username? = nil, firstName: String? = nil, lastName: String? = nil) {
        self.username = username
        self.firstName = firstName
        self.lastName = lastName
    }
}

/// The database as the endpoints use it.
package protocol Store: UserStore, LoginFailureStore, ChatStore, GroupStore, MessageStore {}
