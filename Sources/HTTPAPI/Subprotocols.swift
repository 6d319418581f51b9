internal import Credentials
internal import ProxyGPT

/// The subprotocols that a WebSocket's client offers, parted into those that may leave and the
/// credential that a browser has no other place for.
struct Subprotocols: Equatable {
    /// What OpenAI's browser clients put before their key.
    private static let keyPrefix = "openai-insecure-api-key."
    /// Whose account it is is not the client's to say, as with the headers of these names.
    private static let accountPrefixes = ["openai-organization.", "openai-project."]

    /// Offered to the upstream, in order.
    private(set) var passed: [String] = []
    /// The token of a session; empty when there is none where one should be, or more than one.
    private(set) var token: String?

    /// - Parameter values: all values of `Sec-WebSocket-Protocol`.
    /// Throws `invalidRequest` for what is no list of tokens (RFC 6455, section 4.1).
    init(_ values: [String]) throws(Failure) {
        for value in values {
            for part in value.split(separator: ",", omittingEmptySubsequences: false) {
                try take(Self.trimmed(part))
            }
        }
        guard Set(passed).count == passed.count else {
            throw Failure(.invalidRequest, "A subprotocol is offered twice.")
        }
    }

    private static func trimmed(_ part: Substring) -> String {
        var part = part.drop { $0 == " " || $0 == "\t" }
        while part.last == " " || part.last == "\t" { part.removeLast() }
        return String(part)
    }

    private mutating func take(_ name: String) throws(Failure) {
        guard !name.isEmpty, name.utf8.allSatisfy(Self.isTokenByte) else {
            throw Failure(.invalidRequest, "Sec-WebSocket-Protocol is no list of names.")
        }
        if hasPrefixIgnoringCase(name, Self.keyPrefix) {
            token = token == nil ? String(name.dropFirst(Self.keyPrefix.count)) : ""
        } else if !name.contains(Token.prefix),
            !Self.accountPrefixes.contains(where: { hasPrefixIgnoringCase(name, $0) })
        {
            passed.append(name)
        }
    }

    // RFC 9110, section 5.6.2.
    private static func isTokenByte(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "a")...UInt8(ascii: "z"),
            UInt8(ascii: "A")...UInt8(ascii: "Z"):
            true
        default: "!#$%&'*+-.^_`|~".utf8.contains(byte)
        }
    }
}
