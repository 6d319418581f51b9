internal import Formats

/// The secret of a session: 256 random bits, shown once and kept by the client alone.
package struct Token: Sendable {
    /// Marks our tokens, so that a scanner of leaked secrets knows them.
    package static let prefix = "pgpt_"

    package let text: String

    /// SHA-256 of the text: all that the store keeps.
    package var digest: [UInt8] { Self.digest(of: text) }

    /// Makes a new token.
    package static func random() -> Token {
        Token(text: prefix + base64URL(Randomness.bytes(32)))
    }

    private static let length = 48

    /// Whether a text is one that `random` could have made.
    package static func hasShape(_ text: some Collection<UInt8>) -> Bool {
        text.count == length && text.starts(with: prefix.utf8)
            && text.dropFirst(prefix.utf8.count).allSatisfy { base64Value($0) != nil }
    }

    /// The digest under which the session of a presented text would be stored.
    package static func digest(of text: String) -> [UInt8] {
        sha256(Array(text.utf8))
    }
}
