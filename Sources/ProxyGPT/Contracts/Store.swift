/// Keeps users and sessions. Every method may throw a `Failure` where its comment says so, and any
/// other error when the database fails. Values are returned as they are committed.
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

    /// Adds a session if the user's password hash still is `hash`; false when it is not, so that no
    /// session won with an old password outlives the password.
    func add(_ session: NewSession, ifPasswordHashIs hash: String) async throws -> Bool

    /// Prolongs a session that was just used. Changes nothing when it has ended meanwhile.
    func touch(_ session: Session.ID, lastUsedAt: Timestamp, expiresAt: Timestamp) async throws

    /// Ends the session of a token digest; false when there was none.
    func endSession(tokenDigest: [UInt8], now: Timestamp) async throws -> Bool

    /// Writes `change` and returns the user as it is then.
    /// Throws `conflict` when another user has the new name, `notFound` when the user is gone.
    func update(_ id: User.ID, _ change: UserChange, now: Timestamp) async throws -> User

    /// Replaces the password hash if it still is `expected`, and ends the user's sessions but
    /// `keeping`. False when the hash was another by then.
    func replacePassword(
        of id: User.ID, expected: String, with hash: String, keeping: Session.ID, now: Timestamp
    ) async throws -> Bool

    /// Replaces a hash of the same password by a stronger one, if it still is `expected`.
    func strengthenPassword(of id: User.ID, expected: String, with hash: String) async throws

    /// The user if `viewer` may know of it: itself, or somebody it shares a chat or group with.
    func user(_ reference: UserReference, visibleTo viewer: User.ID) async throws -> User?

    /// Ids of the groups that the user is a member of, oldest first.
    func groups(of id: User.ID) async throws -> [String]
}

extension UserStore {
    /// The user `id` if `viewer` may know of it.
    package func user(_ id: User.ID, visibleTo viewer: User.ID) async throws -> User? {
        try await user(UserReference(id), visibleTo: viewer)
    }
}

/// Counts tries to log in, for `LoginThrottle`.
package protocol LoginFailureStore: Sendable {
    /// Counts a try as under way, if the throttle admits it beside all others: counting and looking
    /// are one statement. What is not admitted is not counted.
    func beginLogin(
        _ throttle: LoginThrottle, now: Timestamp
    ) async throws -> LoginThrottle.Admission

    /// Ends a try that was wrong: each of the throttle's counters rises, starting anew where its last
    /// failure is long ago.
    func failLogin(_ throttle: LoginThrottle, now: Timestamp) async throws

    /// Ends a try that was right: its failures are forgotten, but not those of the address.
    func succeedLogin(_ throttle: LoginThrottle) async throws

    /// Ends a try of which nobody knows whether it would have been right.
    func abandonLogin(_ throttle: LoginThrottle) async throws
}

/// One counter of the tries to log in.
package struct LoginFailures: Sendable, Equatable {
    package let count: Int64
    package let lastAt: Timestamp
    /// Tries that have begun and not ended.
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
    /// SHA-256 of the token; the token itself is kept nowhere.
    package let tokenDigest: [UInt8]

    package init(session: Session, tokenDigest: [UInt8]) {
        self.session = session
        self.tokenDigest = tokenDigest
    }
}

/// What `/user/update` writes; nil leaves a field as it is.
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

/// Everything the endpoints need of the database.
package protocol Store: UserStore, LoginFailureStore, ChatStore, GroupStore, MessageStore {}
