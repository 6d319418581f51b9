package import Credentials
package import ProxyGPT

/// Finds the caller of a credential, by the live session row: a logout acts at once, in all processes.
package struct Authenticator: Sendable {
    private static let touchInterval: Int64 = 3600

    private let store: any Store
    private let clock: any Clock
    private let sessionDays: Int64
    private let cookieName: String

    package init(_ settings: Settings, store: any Store, clock: any Clock) {
        self.store = store
        self.clock = clock
        sessionDays = settings.sessionDays
        cookieName = settings.cookieName
    }

    /// The credentials that a request carries. Throws `unauthorized` when it carries none.
    package func credentials(
        of request: Request, parameter: String? = nil
    ) throws(Failure) -> [PresentedCredential] {
        let found = PresentedCredential.find(
            authorization: request.values(of: "Authorization"),
            cookies: request.values(of: "Cookie"), cookieName: cookieName, parameter: parameter)
        if found.isEmpty { throw .missingCredential }
        return found
    }

    /// The caller, and the credential that proved it: the first of several that is good. Throws
    /// `unauthorized` when none is one, or no longer.
    package func caller(
        _ credentials: [PresentedCredential]
    ) async throws -> (caller: Caller, credential: PresentedCredential) {
        for credential in credentials {
            if let caller = try await caller(credential) { return (caller, credential) }
        }
        throw Failure.wrongCredential
    }

    private func caller(_ credential: PresentedCredential) async throws -> Caller? {
        guard let token = credential.token else { return nil }
        let now = clock.now()
        guard let caller = try await store.caller(tokenDigest: Token.digest(of: token), now: now)
        else { return nil }
        if case .userToken(let username, _) = credential,
            Username.folded(username) != Username.folded(caller.user.username)
        {
            return nil
        }
        try await touch(caller.session, now)
        return caller
    }

    /// Whether the session of a digest that was a caller's still is one, for what lasts longer than
    /// a request. It counts as a use.
    package func isStillValid(tokenDigest: [UInt8]) async throws -> Bool {
        let now = clock.now()
        guard let caller = try await store.caller(tokenDigest: tokenDigest, now: now) else {
            return false
        }
        try await touch(caller.session, now)
        return true
    }

    private func touch(_ session: Session, _ now: Timestamp) async throws {
        guard session.lastUsedAt.adding(seconds: Self.touchInterval) <= now else { return }
        try await store.touch(session.id, lastUsedAt: now, expiresAt: expiry(after: now))
    }

    package func expiry(after now: Timestamp) -> Timestamp {
        now.adding(seconds: sessionDays * 86_400)
    }
}

extension Failure {
    package static let missingCredential = Failure(
        .unauthorized, "Send a session's token: \"Authorization: Bearer TOKEN\" or the cookie sess."
    )
    package static let wrongCredential = Failure(
        .unauthorized, "The token is not, or no longer, that of a session. Log in again.")
}
