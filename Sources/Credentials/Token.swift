internal import COpenSSL
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

/// Returns the SHA-256 (FIPS 180-4) of `bytes`.
package func sha256(_ bytes: [UInt8]) -> [UInt8] {
    var digest = [UInt8](repeating: 0, count: Int(SHA256_DIGEST_LENGTH))
    // EVP_Digest(3) fails for want of memory alone.
    let result = EVP_Digest(bytes, bytes.count, &digest, nil, sha256Algorithm, nil)
    precondition(result == 1, "libcrypto found no memory for a digest")
    return digest
}

/// Returns the SHA-256 of pieces that stand one behind the other.
func sha256(_ pieces: [[UInt8]]) -> [UInt8] {
    var digest = [UInt8](repeating: 0, count: Int(SHA256_DIGEST_LENGTH))
    // These, too, fail for want of memory alone: EVP_DigestInit(3).
    let context = EVP_MD_CTX_new()
    defer { EVP_MD_CTX_free(context) }
    var isDone = EVP_DigestInit_ex2(context, sha256Algorithm, nil) == 1
    for piece in pieces where isDone {
        isDone = EVP_DigestUpdate(context, piece, piece.count) == 1
    }
    isDone = isDone && EVP_DigestFinal_ex(context, &digest, nil) == 1
    precondition(isDone, "libcrypto found no memory for a digest")
    return digest
}

// Fetched once: SHA256() looks the algorithm up at every call, for longer than it hashes. Constant
// from then on, and libcrypto's own methods are safe to share between threads.
private nonisolated(unsafe) let sha256Algorithm = EVP_MD_fetch(nil, "SHA256", nil)
