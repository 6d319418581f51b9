internal import Credentials
internal import ProxyGPT

extension API {
    /// `/user/signup`: a user and its first session, both or neither.
    func signup(_ call: Call) async throws -> Response {
        guard settings.signupIsOpen else {
            throw Failure(.forbidden, "Sign-up is closed. Ask the operator for an account.")
        }
        let parameters = try call.given()
        let username = try Username(try parameters.requiredText("username"))
        let password = try newPassword(parameters, "password")
        let firstName = try personalName(parameters, "first_name") ?? ""
        let lastName = try personalName(parameters, "last_name") ?? ""
        let hash = try await hasher.hash(password)
        let now = clock.now()
        let user = User(
            id: User.ID(identifiers.next()), username: username.text, firstName: firstName,
            lastName: lastName, createdAt: now, updatedAt: now)
        let token = Token.random()
        let session = newSession(of: user.id, token, now)
        try await store.create(
            NewUser(user: user, foldedName: username.folded, passwordHash: hash), session: session)
        return loggedIn(call, user, session.session, token)
    }

    /// `/user/login`.
    func login(_ call: Call) async throws -> Response {
        let parameters = try call.given()
        let name = Username.folded(try parameters.requiredText("username"))
        let password = try presentedPassword(parameters, "password")
        let login = try await check(password, of: name, call) {
            try await store.login(foldedName: name)
        }
        let now = clock.now()
        let token = Token.random()
        let session = newSession(of: login.user.id, token, now)
        guard try await store.add(session, ifPasswordHashIs: login.passwordHash) else {
            throw Failure(.unauthorized, "The password was changed just now.")
        }
        return loggedIn(call, login.user, session.session, token)
    }

    /// Checks a password against the login that `find` finds, slowed down where failures pile up.
    /// Throws `unauthorized` when it is wrong, `rateLimited` when it is too early to try again.
    private func check(
        _ password: String, of foldedName: String, _ call: Call, find: () async throws -> Login?
    ) async throws -> Login {
        let throttle = LoginThrottle(
            foldedName: foldedName, clientAddress: call.request.clientAddress)
        let delay = throttle.delay(
            try await store.loginFailures(throttle.keys), now: clock.now())
        guard delay == 0 else {
            throw Failure(
                .rateLimited, "Too many failed logins. Wait \(delay) s.", retryAfter: delay)
        }
        let login = try await find()
        let verdict = try await hasher.check(password, against: login?.passwordHash)
        guard let login, verdict != .wrong else {
            try await store.countLoginFailure(
                throttle.keys, now: clock.now(), forgetAfter: LoginThrottle.forgetAfter)
            recordLoginFailure(call, login?.user.id)
            throw Failure(.unauthorized, "The user name or the password is wrong.")
        }
        guard !login.isDisabled else {
            throw Failure(.forbidden, "This account is disabled. Ask the operator.")
        }
        try await store.clearLoginFailures(throttle.keysOfSuccess)
        guard case .rightButWeak(let stronger) = verdict else { return login }
        try await store.strengthenPassword(
            of: login.user.id, expected: login.passwordHash, with: stronger)
        return Login(user: login.user, passwordHash: stronger)
    }

    private func recordLoginFailure(_ call: Call, _ user: User.ID?) {
        var event = Event(
            id: Event.ID(identifiers.next()), timestamp: clock.now(), kind: .loginFailure,
            requestID: call.event.requestID, clientAddress: call.event.clientAddress,
            method: call.event.method, path: call.event.path)
        event.userID = user
        event.status = Failure.Code.unauthorized.status
        event.end = .done
        meter.loginFailed()
        refusals.record(event)
    }

    /// `/user/logout`: ends the session of the credential, or of the parameter `token`.
    func logout(_ call: Call) async throws -> Response {
        let request = call.request
        let credential: PresentedCredential?
        if let token = try call.given().text("token") {
            credential = .token(token)
        } else {
            credential = PresentedCredential.find(
                authorization: request.values(of: "Authorization"),
                cookies: request.values(of: "Cookie"))
        }
        guard let credential else { throw Failure.missingCredential }
        try await accept(credential, in: call)
        guard let token = credential.token,
            try await store.endSession(tokenDigest: Token.digest(of: token), now: clock.now())
        else { throw Failure.wrongCredential }
        var response = Response(json: [:])
        response.headers.append(cookie("", maxAge: 0, request))
        return response
    }

    /// `/user/session`.
    func session(_ call: Call) async throws -> Response {
        let caller = try call.authenticated()
        return Response(json: [
            "user": try await ownView(of: caller.user), "session": caller.session.view,
        ])
    }

    /// `/user/read`: oneself in full, others as far as one knows them.
    func readUser(_ call: Call) async throws -> Response {
        let caller = try call.authenticated()
        guard let id = try call.given().text("id"), id != caller.user.id.text else {
            return Response(json: try await ownView(of: caller.user))
        }
        guard let user = try await store.user(User.ID(id), visibleTo: caller.user.id) else {
            throw Failure.notFound("user")
        }
        return Response(json: user.publicView)
    }

    /// `/user/update`: what is absent stays.
    func updateUser(_ call: Call) async throws -> Response {
        let caller = try call.authenticated()
        let parameters = try call.given()
        let change = UserChange(
            username: try parameters.text("username").map { name throws(Failure) in
                try Username(name)
            },
            firstName: try personalName(parameters, "first_name"),
            lastName: try personalName(parameters, "last_name"))
        let user = try await store.update(caller.user.id, change, now: clock.now())
        return Response(json: try await ownView(of: user))
    }

    /// `/user/password/update`: ends all other sessions of the user.
    func updatePassword(_ call: Call) async throws -> Response {
        let caller = try call.authenticated()
        let parameters = try call.given()
        let old = try presentedPassword(parameters, "old_password")
        let new = try newPassword(parameters, "new_password")
        let name = Username.folded(caller.user.username)
        let login = try await check(old, of: name, call) {
            try await store.login(id: caller.user.id)
        }
        let hash = try await hasher.hash(new)
        let isReplaced = try await store.replacePassword(
            of: login.user.id, expected: login.passwordHash, with: hash,
            keeping: caller.session.id, now: clock.now())
        guard isReplaced else {
            throw Failure(.conflict, "The password was changed by somebody else meanwhile.")
        }
        return Response(json: [:])
    }

    // MARK: - Parameters

    private func newPassword(_ parameters: Parameters, _ name: String) throws(Failure) -> String {
        let password = try presentedPassword(parameters, name)
        try User.checkNewPassword(
            password, minimum: settings.passwordMinimum, parameter: name)
        return password
    }

    private func presentedPassword(
        _ parameters: Parameters, _ name: String
    ) throws(Failure) -> String {
        let password = try parameters.requiredText(name)
        guard password.utf8.count <= User.passwordLimit else {
            throw .invalid(name, "A password has at most \(User.passwordLimit) bytes.")
        }
        return password
    }

    private func personalName(
        _ parameters: Parameters, _ name: String
    ) throws(Failure) -> String? {
        guard let text = try parameters.text(name) else { return nil }
        try User.checkPersonalName(text, parameter: name)
        return text
    }

    // MARK: - Answers

    private func newSession(of user: User.ID, _ token: Token, _ now: Timestamp) -> NewSession {
        NewSession(
            session: Session(
                id: Session.ID(identifiers.next()), userID: user, createdAt: now, lastUsedAt: now,
                expiresAt: authenticator.expiry(after: now)),
            tokenDigest: token.digest)
    }

    private func loggedIn(
        _ call: Call, _ user: User, _ session: Session, _ token: Token
    ) -> Response {
        call.caller = Caller(user: user, session: session)
        call.event.userID = user.id
        var response = Response(json: [
            "token": .string(token.text), "user": user.fullView(groups: nil),
        ])
        response.headers.append(
            cookie(token.text, maxAge: settings.sessionDays * 86_400, call.request))
        return response
    }

    private func cookie(_ value: String, maxAge: Int64, _ request: Request) -> Header {
        let secure = crossSite.isSecure(request) ? "; Secure" : ""
        return Header(
            "Set-Cookie",
            "sess=\(value); Path=/; Max-Age=\(maxAge); HttpOnly; SameSite=Lax\(secure)")
    }

    private func ownView(of user: User) async throws -> JSONValue {
        user.fullView(groups: try await store.groups(of: user.id))
    }
}
