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
        if let parameter { return parameter.isEmpty ? .malformed : .token(parameter) }
        return cookie(in: cookies)
    }

    private static func read(authorization value: String) -> PresentedCredential {
        let parts = value.split(separator: " ", maxSplits: 1, omittingEmptySubsequences: true)
        guard parts.count == 2 else { return .malformed }
        let content = parts[1].drop { $0 == " " }
        guard !content.isEmpty, content.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else {
            return .malformed
        }
        switch parts[0].lowercased() {
        case "bearer": return .token(String(content))
        case "basic": return basic(content)
        default: return .malformed
        }
    }

    // RFC 7617: the name ends at the first colon.
    private static func basic(_ content: Substring) -> PresentedCredential {
        guard let bytes = decodeBase64(content),
            let text = String(validating: bytes, as: UTF8.self),
            let colon = text.firstIndex(of: ":")
        else { return .malformed }
        let token = text[text.index(after: colon)...]
        guard !token.isEmpty else { return .malformed }
        return .userToken(username: String(text[..<colon]), token: String(token))
    }

    // RFC 6265, section 4.2.1. Of several cookies of that name the first is the most specific.
    private static func cookie(in values: [String]) -> PresentedCredential? {
        for value in values {
            for pair in value.split(separator: ";") {
                let pair = pair.drop { $0 == " " || $0 == "\t" }
                guard pair.hasPrefix("sess=") else { continue }
                var content = pair.dropFirst("sess=".count)
                while content.last == " " || content.last == "\t" { content.removeLast() }
                if content.count >= 2, content.first == "\"", content.last == "\"" {
                    content = content.dropFirst().dropLast()
                }
                guard !content.isEmpty, content.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else {
                    return .malformed
                }
                return .cookie(String(content))
            }
        }
        return nil
    }
}
