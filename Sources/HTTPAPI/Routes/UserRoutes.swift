internal import Credentials
internal import Formats
internal import Gateway
internal import ProxyGPT

extension API {
    /// `/user/signup`: a user and its first session, both or neither.
    func signup(_ call: Call) async throws -> Response {
        guard settings.signupIsOpen else {
            throw Failure(.forbidden, "Sign-up is closed. Ask the operator for an account.")
        }
        let parameters = try call.parsedParameters()
        let username = try parameters.required(Known.username)
        let password = try newPassword(parameters, Known.password)
        let firstName = try parameters.value(of: Known.firstName) ?? ""
        let lastName = try parameters.value(of: Known.lastName) ?? ""
        let hash = try await hasher.hash(
            password, by: LoginThrottle.block(of: call.request.clientAddress))
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
        let parameters = try call.parsedParameters()
        let text = try parameters.required(Known.loginName)
        let password = try parameters.required(Known.password)
        // No user has such a name; what follows costs time that grows with its length.
        guard text.utf8.count <= Username.limit else {
            recordLoginFailure(call, nil)
            throw Failure.wrongPassword
        }
        let name = Username.folded(text)
        let login = try await hasher.inTurn(of: name, for: .login) {
            try await check(password, of: name, for: .login, call) {
                try await store.login(foldedName: name)
            }
        }
        let now = clock.now()
        let token = Token.random()
        let session = newSession(of: login.user.id, token, now)
        guard try await store.add(session, ifPasswordHashIs: login.passwordHash) else {
            throw Failure(.unauthorized, "The password was changed just now.")
        }
        return loggedIn(call, login.user, session.session, token)
    }

    /// `/user/logout`: ends the session of the credential, or of the parameter `token`.
    func logout(_ call: Call) async throws -> Response {
        let request = call.request
        let credentials =
            if let token = try call.parsedParameters().value(of: Known.token) {
                PresentedCredential.find(
                    authorization: [], cookies: [], cookieName: settings.cookieName,
                    parameter: token)
            } else { try admission.authenticator.credentials(of: request) }
        if case .cookie = credentials.first { try admission.crossSite.checkLogout(of: request) }
        let (caller, credential) = try await admission.authenticator.caller(credentials)
        note(caller, in: call)
        guard let token = credential.token,
            try await store.endSession(tokenDigest: Token.digest(of: token), now: clock.now())
        else { throw Failure.wrongCredential }
        var response = Response(json: [:])
        response.headers += cookie("", maxAge: 0, request)
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
        let parameters = try call.parsedParameters()
        let reference: UserReference
        if let id = try parameters.value(of: Known.readUserID) {
            reference = UserReference(id, parameter: "id")
        } else if let user = try parameters.value(of: Known.readUsername) {
            reference = user
        } else {
            return Response(json: try await ownView(of: caller.user))
        }
        guard let user = try await store.user(reference, visibleTo: caller.user.id) else {
            throw reference.absence
        }
        let isSelf = user.id == caller.user.id
        return Response(json: isSelf ? try await ownView(of: user) : user.publicView)
    }

    /// `/user/update`: what is absent stays.
    func updateUser(_ call: Call) async throws -> Response {
        let caller = try call.authenticated()
        let parameters = try call.parsedParameters()
        let change = UserChange(
            username: try parameters.value(of: Known.username),
            firstName: try parameters.value(of: Known.firstName),
            lastName: try parameters.value(of: Known.lastName))
        let user = try await store.update(caller.user.id, change, now: clock.now())
        return Response(json: try await ownView(of: user))
    }

    /// `/user/password/update`: ends all other sessions of the user.
    func updatePassword(_ call: Call) async throws -> Response {
        let caller = try call.authenticated()
        let parameters = try call.parsedParameters()
        let old = try parameters.required(Known.oldPassword)
        let new = try newPassword(parameters, Known.newPassword)
        let name = Username.folded(caller.user.username)
        let isReplaced = try await hasher.inTurn(of: caller.user.id.text, for: .change) {
            let login = try await check(old, of: name, for: .change, call) {
                try await store.login(id: caller.user.id)
            }
            let hash = try await hasher.hash(new, by: caller.user.id.text)
            return try await store.replacePassword(
                of: login.user.id, expected: login.passwordHash, with: hash,
                keeping: caller.session.id, now: clock.now())
        }
        guard isReplaced else {
            throw Failure(.conflict, "The password was changed by another request meanwhile.")
        }
        return Response(json: [:])
    }

    // MARK: - Parameters

    private func newPassword(
        _ parameters: Parameters, _ parameter: Parameter<String>
    ) throws(Failure) -> String {
        let password = try parameters.required(parameter)
        try User.checkNewPassword(
            password, minimum: settings.passwordMinimum,
            parameter: parameter.specification.names[0])
        return password
    }

    // MARK: - Answers

    private func newSession(of user: User.ID, _ token: Token, _ now: Timestamp) -> NewSession {
        NewSession(
            session: Session(
                id: Session.ID(identifiers.next()), userID: user, createdAt: now, lastUsedAt: now,
                expiresAt: admission.authenticator.expiry(after: now)),
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
        response.headers += cookie(
            token.text, maxAge: settings.sessionDays * 86_400, call.request)
        return response
    }

    /// Sets the cookie; a page of a foreign origin has none to set. Over TLS, where it is for all paths,
    /// under a second name too, which no other host of the same domain can set in its place.
    private func cookie(_ value: String, maxAge: Int64, _ request: Request) -> [Header] {
        if admission.crossSite.isForeign(request) { return [] }
        let path = settings.cookiePath
        let content = "\(settings.cookieName)=\(value)"
        let attributes = "; Path=\(path); Max-Age=\(maxAge); HttpOnly; SameSite=Lax"
        guard admission.crossSite.isSecure(request) else {
            return [Header("Set-Cookie", content + attributes)]
        }
        let isForAll = path.utf8.elementsEqual("/".utf8)
        return (isForAll ? ["", PresentedCredential.hostPrefix] : [""]).map {
            Header("Set-Cookie", $0 + content + attributes + "; Secure")
        }
    }

    private func ownView(of user: User) async throws -> JSONValue {
        user.fullView(groups: try await store.groups(of: user.id))
    }
}
