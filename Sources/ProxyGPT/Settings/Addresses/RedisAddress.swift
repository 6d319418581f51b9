internal import Formats

/// The address and the credentials of Redis: `redis://[[user:]password@]host[:port][/database]` or
/// `unix://[[user:]password@]/path[?db=database]`.
package struct RedisAddress: Sendable, Equatable {
    /// The host and port, or the socket.
    package enum Place: Sendable, Equatable {
        case host(String, port: UInt16)
        case socket(path: String)
    }

    package let place: Place
    package let user: String?
    package let password: Secret?
    package let database: Int

    /// The problem of an address.
    package typealias Problem = ValueProblem

    /// Reads `REDIS_ADDRESS`. Problems have no part of the address.
    package init(_ text: String) throws(Problem) {
        guard text.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else {
            throw Problem(text: "has white space or characters beyond ASCII")
        }
        guard !text.contains("#") else { throw Problem(text: "must not have a fragment") }
        let lowered = text.lowercased()
        if lowered.hasPrefix("rediss://") {
            throw Problem(
                text:
                    "asks for TLS, which is not supported: use redis:// inside a trusted network, "
                    + "or a TLS tunnel such as stunnel on this host")
        }
        if lowered.hasPrefix("redis://") {
            try self.init(host: text.dropFirst("redis://".count))
        } else if lowered.hasPrefix("unix://") {
            try self.init(socket: text.dropFirst("unix://".count))
        } else {
            throw Problem(text: "must begin with redis:// or unix://")
        }
    }

    private init(host text: Substring) throws(Problem) {
        let authority = text.prefix { $0 != "/" && $0 != "?" }
        let path = text.dropFirst(authority.count)
        guard !path.contains("?") else { throw Problem(text: "must not have a query") }
        let (user, password, rest) = try Self.credentials(authority)
        place = try Self.host(rest)
        (self.user, self.password) = (user, password)
        var name = path.dropFirst()
        if name.hasSuffix("/") { name = name.dropLast() }
        database = name.isEmpty ? 0 : try Self.database(name)
    }

    private init(socket text: Substring) throws(Problem) {
        let authority = text.prefix { $0 != "/" }
        let (user, password, rest) = try Self.credentials(authority)
        guard rest.isEmpty else { throw Problem(text: "has a host where unix:// has none") }
        (self.user, self.password) = (user, password)
        let tail = text.dropFirst(authority.count)
        let path = try Self.decoded(tail.prefix { $0 != "?" })
        // sun_path of unix(7), with its end.
        guard path.utf8.count > 1, path.utf8.count < 108 else {
            throw Problem(text: "needs the absolute path of a socket, of at most 107 bytes")
        }
        place = .socket(path: path)
        let query = tail.drop { $0 != "?" }.dropFirst()
        if query.isEmpty {
            database = 0
        } else {
            guard query.hasPrefix("db=") else {
                throw Problem(text: "has a query other than ?db=NUMBER")
            }
            database = try Self.database(query.dropFirst(3))
        }
    }

    /// The text before the last `@`: a password, or a user and a password.
    private static func credentials(
        _ authority: Substring
    ) throws(Problem) -> (user: String?, password: Secret?, rest: Substring) {
        guard let mark = authority.lastIndex(of: "@") else { return (nil, nil, authority) }
        let info = authority[..<mark]
        let rest = authority[authority.index(after: mark)...]
        guard let colon = info.firstIndex(of: ":") else {
            let password = try decoded(info)
            return (nil, password.isEmpty ? nil : Secret(password), rest)
        }
        let user = try decoded(info[..<colon])
        let password = try decoded(info[info.index(after: colon)...])
        guard user.isEmpty || !password.isEmpty else {
            throw Problem(text: "has a user without a password")
        }
        return (user.isEmpty ? nil : user, password.isEmpty ? nil : Secret(password), rest)
    }

    private static func host(_ text: Substring) throws(Problem) -> Place {
        let parts: HostAndPort
        do throws(HostAndPort.Problem) {
            parts = try HostAndPort(Array(text.utf8)[...])
        } catch {
            throw Problem(text: error.rawValue)
        }
        return .host(
            try decoded(Substring(parts.hostText)).lowercased(), port: parts.port ?? 6379)
    }

    private static func database(_ text: Substring) throws(Problem) -> Int {
        guard let number = text.utf8.decimalNumber, number <= 1_000_000 else {
            throw Problem(text: "has a database that is no number")
        }
        return Int(number)
    }

    /// Decodes percent-escapes to UTF-8 without a zero byte.
    private static func decoded(_ text: Substring) throws(Problem) -> String {
        guard let bytes = PercentEncoding.decode(text.utf8) else {
            throw Problem(text: "has a malformed percent-escape")
        }
        guard !bytes.contains(0), let decoded = String(validating: bytes, as: UTF8.self) else {
            throw Problem(text: "has a percent-escape that stands for no character")
        }
        return decoded
    }
}

extension RedisAddress: CustomStringConvertible {
    /// The address without credentials.
    package var description: String {
        switch place {
        case .host(let name, let port):
            "redis://\(name.contains(":") ? "[\(name)]" : name):\(port)/\(database)"
        case .socket(let path): "unix://\(path)?db=\(database)"
        }
    }
}
