internal import Formats

/// The secret of a session: 256 random bits, shown once and kept by the client alone.
package struct Token: Sendable {
    /// Marks our tokens, so that a scanner of leaked secrets knows them.
    package static let prefix = "pgpt_"

    package let text: String

    /// SHA-256 of the text, which is all that the store has.
    package var digest: [UInt8] { Self.digest(of: text) }

    /// Makes a new token.
    package static func random() -> Token {
        Token(text: prefix + base64URL(Randomness.bytes(32)))
    }

    private static let length = 48

    /// Whether a text has the form of a token.
    package static func hasShape(_ text: some Collection<UInt8>) -> Bool {
        text.count == length && text.starts(with: prefix.utf8)
            && text.dropFirst(prefix.utf8.count).allSatisfy { base64Value($0) != nil }
    }

    /// The digest under which a token's session is stored.
    package static func digest(of text: String) -> [UInt8] {
        sha256(Array(text.utf8))
    }
}
