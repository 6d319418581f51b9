internal import Formats

/// An HTTP proxy on the way to the upstream: `http://[user:password@]host[:port]`.
package struct UpstreamProxy: Sendable, Equatable {
    /// The credentials for the proxy (RFC 7617).
    package struct Credential: Sendable, Equatable {
        package let user: String
        package let password: Secret
    }

    /// In small letters, without the brackets of an IPv6 address.
    package let host: String
    package let port: Int
    package let credential: Credential?

    /// The problem of an address, without any part of the address.
    package typealias Problem = ValueProblem

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
        do throws(HostAndPort.Problem) {
            let parts = try HostAndPort(Array(rest.utf8)[...])
            host = parts.hostText.lowercased()
            port = Int(parts.port ?? 80)
        } catch {
            throw Problem(text: error.rawValue)
        }
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

    /// Decodes percent-escapes to UTF-8 without control characters.
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
    /// The address without credentials.
    package var description: String {
        "http://\(host.contains(":") ? "[\(host)]" : host):\(port)"
    }
}
