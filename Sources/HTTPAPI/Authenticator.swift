internal import Credentials
internal import ProxyGPT

/// Finds out whose credential it is, by the live session row: a logout acts at once, everywhere.
struct Authenticator: Sendable {
    private static let touchInterval: Int64 = 3600

    let store: any Store
    let clock: any Clock
    let sessionDays: Int64

    /// Throws `unauthorized` when the credential is none, or no longer one.
    func caller(_ credential: PresentedCredential) async throws -> Caller {
        guard let token = credential.token else { throw Failure.wrongCredential }
        let now = clock.now()
        guard let caller = try await store.caller(tokenDigest: Token.digest(of: token), now: now)
        else { throw Failure.wrongCredential }
        if case .userToken(let username, _) = credential,
            Username.folded(username) != Username.folded(caller.user.username)
        {
            throw Failure.wrongCredential
        }
        try await touch(caller.session, now)
        return caller
    }

    /// Whether the session of a digest that was a caller's still is one, for what lasts longer than
    /// a request. It counts as a use.
    func isStillValid(tokenDigest: [UInt8]) async throws -> Bool {
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

    func expiry(after now: Timestamp) -> Timestamp {
        now.adding(seconds: sessionDays * 86_400)
    }
}
