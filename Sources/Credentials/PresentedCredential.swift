internal import Formats
internal import ProxyGPT

/// A credential of a request.
package enum PresentedCredential: Equatable, Sendable {
    /// A token, from `Authorization: Bearer` or the `token` parameter.
    case token(String)
    /// A user name with a token, from `Authorization: Basic` (`user:token@` in a URL).
    case userToken(username: String, token: String)
    /// A token that a browser added by itself, from the session cookie.
    case cookie(String)
    /// A malformed credential.
    case malformed

    /// The token of any of these forms.
    package var token: String? {
        switch self {
        case .token(let token), .userToken(_, let token), .cookie(let token): token
        case .malformed: nil
        }
    }

    /// The credentials of a request in the order in which they are tried; empty where there are
    /// none.
    ///
    /// Of header, parameter and cookies the first present decides, even if it is wrong. There are
    /// two exceptions: a cookie of that name may be another application's on the same host, and a
    /// header without a token of this product may be a proxy's. A good cookie wins over those.
    /// - Parameters:
    ///   - authorization: all values of the `Authorization` header.
    ///   - cookies: all values of the `Cookie` header.
    ///   - cookieName: the session cookie's; a name with `__Host-` before it is taken as well.
    ///   - parameter: the `token` parameter, on the paths that take one.
    package static func find(
        authorization: [String], cookies: [String], cookieName: String, parameter: String? = nil
    ) -> [PresentedCredential] {
        if let value = authorization.first {
            // Two headers could name two callers, so that both are refused.
            guard authorization.count == 1 else { return [.malformed] }
            let credential = read(authorization: value)
            if let token = credential.token, Token.hasShape(token.utf8) { return [credential] }
            return self.cookies(in: cookies, cookieName).filter { $0 != .malformed } + [credential]
        }
        if let parameter {
            let isToken = (1...tokenLimit).contains(parameter.utf8.count)
            return [isToken ? .token(parameter) : .malformed]
        }
        return self.cookies(in: cookies, cookieName)
    }

    /// The most cookies of one request that are tried.
    package static let cookieLimit = 4

    /// The longest token that is tried, in bytes; this product's have 48.
    package static let tokenLimit = 512

    private static func read(authorization value: String) -> PresentedCredential {
        let value = value.withoutOuterBlanks
        guard value.utf8.count <= 2048, let rest = value.rest(behind: " ") else {
            return .malformed
        }
        let content = rest.withoutOuterBlanks
        let scheme = String(value.beginning(before: " "))
        if equalIgnoringCase(scheme, "Bearer") {
            return isToken(content.utf8) ? .token(String(content)) : .malformed
        }
        return equalIgnoringCase(scheme, "Basic") ? basic(content) : .malformed
    }

    private static func isToken(_ bytes: some Collection<UInt8>) -> Bool {
        (1...tokenLimit).contains(bytes.count) && bytes.allSatisfy { $0 > 0x20 && $0 < 0x7F }
    }

    // RFC 7617: the name ends at the first colon.
    private static func basic(_ content: Substring) -> PresentedCredential {
        guard let bytes = decodeBase64(content),
            let text = String(validating: bytes, as: UTF8.self),
            let token = text.rest(behind: ":"), (1...tokenLimit).contains(token.utf8.count)
        else { return .malformed }
        let name = text.beginning(before: ":")
        guard name.utf8.count <= Username.limit else { return .malformed }
        return .userToken(username: String(name), token: String(token))
    }

    // RFC 6265, section 4.2.1.
    private static func cookies(in values: [String], _ name: String) -> [PresentedCredential] {
        var found: [PresentedCredential] = []
        for value in values {
            var value = value
            value.withUTF8 { bytes in
                for pair in bytes.split(separator: UInt8(ascii: ";")) {
                    guard found.count < cookieLimit,
                        let content = session(in: pair.withoutOuterBlanks, name)
                    else { continue }
                    let cookie: PresentedCredential =
                        Token.hasShape(content)
                        ? .cookie(String(decoding: content, as: UTF8.self)) : .malformed
                    // Cookies of other applications do not count.
                    if !found.contains(cookie) { found.append(cookie) }
                }
            }
        }
        return found.count > 1 ? found.filter { $0 != .malformed } : found
    }

    /// The value of a session's cookie, without quotes.
    private static func session(
        in pair: Slice<UnsafeBufferPointer<UInt8>>, _ name: String
    ) -> Slice<UnsafeBufferPointer<UInt8>>? {
        let isOfHost = pair.starts(with: hostPrefix.utf8)
        let pair = pair.dropFirst(isOfHost ? hostPrefix.utf8.count : 0)
        guard pair.starts(with: name.utf8) else { return nil }
        let rest = pair.dropFirst(name.utf8.count)
        guard rest.first == UInt8(ascii: "=") else { return nil }
        let content = rest.dropFirst()
        let isQuoted =
            content.count >= 2 && content.first == UInt8(ascii: "\"")
            && content.last == UInt8(ascii: "\"")
        return isQuoted ? content.dropFirst().dropLast() : content
    }

    /// Browsers keep a cookie of such a name only from the host itself, over TLS, for all paths
    /// (draft-ietf-httpbis-rfc6265bis, section 4.1.3.2).
    package static let hostPrefix = "__Host-"
}
