internal import Credentials
internal import Formats
internal import Gateway
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

    /// What a list may have: bytes in all, and names.
    private static let limit = (bytes: 4096, names: 32)

    /// - Parameter values: all values of `Sec-WebSocket-Protocol`.
    /// Throws `invalidRequest` for what is no list of tokens (RFC 6455, section 4.1).
    init(_ values: [String]) throws(Failure) {
        guard values.reduce(0, { $0 + $1.utf8.count }) <= Self.limit.bytes else {
            throw Failure(
                .invalidRequest, "Sec-WebSocket-Protocol is longer than \(Self.limit.bytes) bytes.")
        }
        let names = values.flatMap(\.listElements)
        guard names.count <= Self.limit.names else {
            throw Failure(
                .invalidRequest, "Sec-WebSocket-Protocol has more than \(Self.limit.names) names.")
        }
        for name in names { try take(name) }
        // Tokens are ASCII, and few.
        for (index, name) in passed.enumerated()
        where passed[..<index].contains(where: { $0.utf8.elementsEqual(name.utf8) }) {
            throw Failure(.invalidRequest, "A subprotocol is offered twice.")
        }
    }

    private mutating func take(_ name: String) throws(Failure) {
        guard !name.isEmpty, name.utf8.allSatisfy(isTokenByte) else {
            throw Failure(.invalidRequest, "Sec-WebSocket-Protocol is no list of names.")
        }
        if hasPrefixIgnoringCase(name, Self.keyPrefix) {
            let rest = name.utf8.dropFirst(Self.keyPrefix.utf8.count)
            token = token == nil ? String(Substring(rest)) : ""
        } else if Array(name.utf8).firstRange(of: Array(Token.prefix.utf8)) == nil,
            !Self.accountPrefixes.contains(where: { hasPrefixIgnoringCase(name, $0) })
        {
            passed.append(name)
        }
    }
}
