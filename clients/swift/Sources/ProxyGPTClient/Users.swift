/// Users and sessions.
public struct Users: Sendable {
    let connection: Connection

    /// Makes a user and its first session, whose token the client uses from then on.
    public func signUp(
        username: String, password: String, firstName: String? = nil, lastName: String? = nil
    ) async throws -> Login {
        try await begin(
            "/user/signup",
            [
                "username": .text(username), "password": .text(password),
                "first_name": optional(firstName), "last_name": optional(lastName),
            ])
    }

    /// Begins a session, whose token the client uses from then on.
    public func logIn(username: String, password: String) async throws -> Login {
        try await begin(
            "/user/login", ["username": .text(username), "password": .text(password)])
    }

    private func begin(_ path: String, _ fields: [String: Request.Field?]) async throws -> Login {
        var request = Request.change(path, fields)
        request.isAnonymous = true
        let login = try await connection.call(request, as: Login.self)
        try connection.setToken(login.token)
        return login
    }

    /// Ends the session, also where its token is used elsewhere; the client then has no token.
    public func logOut() async throws {
        let token = connection.token
        do {
            _ = try await connection.call(.change("/user/logout"), as: Connection.Nothing.self)
        } catch let error as ProxyGPTError where error.status == 401 {
            // The session had ended before.
        }
        connection.forgetToken(token)
    }

    /// Reads the client's user and session.
    public func session() async throws -> CurrentSession {
        try await connection.call(.read("/user/session"))
    }

    /// Reads a user who shares a chat or a group with the client's user, by id or by name; without either the
    /// client's user.
    public func read(id: String? = nil, username: String? = nil) async throws -> User {
        try await connection.call(
            .read("/user/read", ["id": optional(id), "username": optional(username)]))
    }

    /// Changes what is given of the client's user.
    public func update(
        username: String? = nil, firstName: String? = nil, lastName: String? = nil
    ) async throws -> User {
        try await connection.call(
            .change(
                "/user/update",
                [
                    "username": optional(username), "first_name": optional(firstName),
                    "last_name": optional(lastName),
                ]))
    }

    /// Changes the password of the client's user and ends all other sessions of that user.
    public func changePassword(oldPassword: String, newPassword: String) async throws {
        _ = try await connection.call(
            .change(
                "/user/password/update",
                ["old_password": .text(oldPassword), "new_password": .text(newPassword)]),
            as: Connection.Nothing.self)
    }
}
