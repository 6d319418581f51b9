internal import ProxyGPT

/// What a request shows to prove who is calling. The first one present decides; a wrong one is not
/// made up for by another.
package enum PresentedCredential: Equatable, Sendable {
    /// A token, from `Authorization: Bearer` or the `token` parameter.
    case token(String)
    /// A user name with a token, from `Authorization: Basic` (`user:token@` in a URL).
    case userToken(username: String, token: String)
    /// A token that a browser added by itself, from the cookie `sess`.
    case cookie(String)
    /// Something that is no credential.
    case malformed

    /// The token, whichever way it came.
    package var token: String? {
        switch self {
        case .token(let token), .userToken(_, let token), .cookie(let token): token
        case .malformed: nil
        }
    }

    /// - Parameters:
    ///   - authorization: all values of the `Authorization` header.
    ///   - cookies: all values of the `Cookie` header.
    ///   - parameter: the `token` parameter, on the paths that take one.
    package static func find(
        authorization: [String], cookies: [String], parameter: String? = nil
    ) -> PresentedCredential? {
        if let value = authorization.first {
            // Two of them could mean two callers: nobody decides that here.
            return authorization.count == 1 ? read(authorization: value) : .malformed
        }
        if let parameter {
            return (1...tokenLimit).contains(parameter.utf8.count) ? .token(parameter) : .malformed
        }
        return cookie(in: cookies)
    }

    /// The longest token that is looked at, in bytes; ours have 48.
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

    // RFC 6265, section 4.2.1. Of several cookies of that name the first is the most specific.
    private static func cookie(in values: [String]) -> PresentedCredential? {
        for value in values {
            var value = value
            guard let content = value.withUTF8({ session(in: $0) }) else { continue }
            return isToken(content) ? .cookie(String(decoding: content, as: UTF8.self)) : .malformed
        }
        return nil
    }

    /// What the cookie `sess` holds, without quotes; nil where there is none.
    private static func session(in cookies: UnsafeBufferPointer<UInt8>) -> [UInt8]? {
        for pair in cookies.split(separator: UInt8(ascii: ";")) {
            let pair = pair.withoutOuterBlanks
            guard pair.starts(with: "sess=".utf8) else { continue }
            let content = pair.dropFirst("sess=".utf8.count)
            let isQuoted =
                content.count >= 2 && content.first == UInt8(ascii: "\"")
                && content.last == UInt8(ascii: "\"")
            return Array(isQuoted ? content.dropFirst().dropLast() : content)
        }
        return nil
    }
}
