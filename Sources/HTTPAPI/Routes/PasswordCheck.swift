internal import Credentials
internal import Gateway
internal import ProxyGPT

extension API {
    /// How often, and how many milliseconds apart, an attempt polls for the end of the ones before it.
    private static var polls: Int { 50 }
    private static var pollInterval: Int64 { 100 }

    /// Checks a password against the login that `find` finds, slowed down where failures pile up. Called
    /// in the user name's or user's turn; log-ins wait for their hash by address.
    /// Throws `unauthorized` when it is wrong, `rateLimited` when it is too early to try again.
    func check(
        _ password: String, of foldedName: String, for purpose: PasswordHasher.Purpose,
        _ call: Call, find: () async throws -> Login?
    ) async throws -> Login {
        let throttle = LoginThrottle(
            foldedName: foldedName, clientAddress: call.request.clientAddress)
        let party = call.caller?.user.id.text ?? throttle.block
        try await begin(throttle)
        let login: Login?
        let verdict: PasswordHasher.Verdict
        do {
            login = try await find()
            verdict = try await hasher.check(
                password, against: login?.passwordHash, for: purpose, by: party)
        } catch {
            // A try that is not given back counts as under way for a while.
            try? await store.abandonLogin(throttle)
            throw error
        }
        guard let login, verdict != .wrong else {
            try await store.failLogin(throttle, now: clock.now())
            recordLoginFailure(call, login?.user.id)
            throw Failure.wrongPassword
        }
        guard !login.isDisabled else {
            try await store.abandonLogin(throttle)
            throw Failure(.forbidden, "This account is disabled. Ask the operator.")
        }
        try await store.succeedLogin(throttle)
        guard case .rightButWeak(let stronger) = verdict else { return login }
        try await store.strengthenPassword(
            of: login.user.id, expected: login.passwordHash, with: stronger)
        return Login(user: login.user, passwordHash: stronger)
    }

    /// Counts the try before its hash is computed, and waits while others decide whether it may begin.
    private func begin(_ throttle: LoginThrottle) async throws {
        for _ in 0..<Self.polls {
            switch try await store.beginLogin(throttle, now: clock.now()) {
            case .admitted: return
            case .delayed(let seconds):
                throw Failure(
                    .rateLimited, "Too many failed logins. Wait \(seconds) s.",
                    retryAfter: seconds)
            case .undecided: await hasher.pause(milliseconds: Self.pollInterval)
            }
        }
        throw Failure(.rateLimited, "Too many logins are under way. Wait 1 s.", retryAfter: 1)
    }

    func recordLoginFailure(_ call: Call, _ user: User.ID?) {
        var event = ledger.rows.row(.loginFailure, beside: call.event)
        event.userID = user
        event.status = Failure.Code.unauthorized.status
        event.end = .done
        meter.loginFailed()
        ledger.refuse(event)
    }
}

extension Failure {
    static let wrongPassword = Failure(
        .unauthorized, "The user name or the password is wrong.")
}
