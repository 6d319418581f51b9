/// An HTTP proxy on the way to the upstream: `http://[user:password@]host[:port]`.
package struct UpstreamProxy: Sendable, Equatable {
    /// What the proxy asks for before it serves (RFC 7617).
    package struct Credential: Sendable, Equatable {
        package let user: String
        package let password: Secret
    }

    /// In small letters, without the brackets of an IPv6 address.
    package let host: String
    package let port: Int
    package let credential: Credential?

    /// What is wrong with an address; says nothing of what stands in it.
    package struct Problem: Error, Equatable {
        package let text: String
    }

    /// Reads an address. The scheme may be left out, as it may in `HTTPS_PROXY`.
    package init(_ text: String) throws(Problem) {
        guard text.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else {
            throw Problem(text: "has white space or characters beyond ASCII")
        }
        var rest = Substring(text)
        if hasPrefixIgnoringCase(text, "http://") {
            rest = rest.dropFirst("http://".count)
        } else if text.contains("://") {
            throw Problem(text: "must be the address of an HTTP proxy, http://host:port")
        }
        if rest.hasSuffix("/") { rest = rest.dropLast() }
        guard !rest.contains(where: { $0 == "/" || $0 == "?" || $0 == "#" }) else {
            throw Problem(text: "has a path, a query or a fragment, or an unescaped / ? # before @")
        }
        if let mark = rest.lastIndex(of: "@") {
            credential = try Self.credential(rest[..<mark])
            rest = rest[rest.index(after: mark)...]
        } else {
            credential = nil
        }
        let (host, port) = HostAndPort.split(rest)
        guard !host.isEmpty else { throw Problem(text: "names no host") }
        guard rest.hasPrefix("[") || !host.contains(":") else {
            throw Problem(text: "has an IPv6 address without [ ] around it")
        }
        self.host = host.lowercased()
        guard let port else {
            self.port = 80
            return
        }
        guard let number = HostAndPort.number(port) else {
            throw Problem(text: "has a port that is no number from 1 to 65535")
        }
        self.port = number
    }

    private static func credential(_ text: Substring) throws(Problem) -> Credential {
        let colon = text.firstIndex(of: ":")
        let user = try decoded(text[..<(colon ?? text.endIndex)])
        let password = try decoded(colon.map { text[text.index(after: $0)...] } ?? "")
        guard !user.utf8.contains(UInt8(ascii: ":")) else {
            throw Problem(text: "has a user name with a colon")
        }
        return Credential(user: user, password: Secret(password))
    }

    /// Decodes percent-escapes; what comes out is UTF-8 without control characters.
    private static func decoded(_ text: Substring) throws(Problem) -> String {
        guard let bytes = PercentEncoding.decode(text.utf8) else {
            throw Problem(text: "has a malformed percent-escape")
        }
        guard bytes.allSatisfy({ $0 >= 0x20 && $0 != 0x7F }),
            let decoded = String(validating: bytes, as: UTF8.self)
        else { throw Problem(text: "has a percent-escape that stands for no character") }
        return decoded
    }
}

extension UpstreamProxy: CustomStringConvertible {
    /// The address without what lets one in.
    package var description: String {
        "http://\(host.contains(":") ? "[\(host)]" : host):\(port)"
    }
}

/// Takes `host:port` apart, an IPv6 address in brackets.
enum HostAndPort {
    /// The host without brackets, and what stands behind its colon. A text with several colons and no
    /// brackets is an IPv6 address.
    static func split(_ text: Substring) -> (host: Substring, port: Substring?) {
        if text.hasPrefix("["), let end = text.firstIndex(of: "]") {
            let behind = text[text.index(after: end)...]
            return (text[..<end].dropFirst(), behind.isEmpty ? nil : behind.dropFirst())
        }
        guard let colon = text.lastIndex(of: ":"), text.firstIndex(of: ":") == colon else {
            return (text, nil)
        }
        return (text[..<colon], text[text.index(after: colon)...])
    }

    /// A port: decimal digits, 1 to 65535.
    static func number(_ text: Substring) -> Int? {
        guard text.utf8.allSatisfy({ (0x30...0x39).contains($0) }) else { return nil }
        return UInt16(text).flatMap { $0 > 0 ? Int($0) : nil }
    }
}
