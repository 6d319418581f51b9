internal import COpenSSL

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

private let base64URLAlphabet = Array(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".utf8)

/// Encodes without padding (RFC 4648, section 5).
package func base64URL(_ bytes: [UInt8]) -> String {
    var text: [UInt8] = []
    text.reserveCapacity((bytes.count * 4 + 2) / 3)
    var bits: UInt32 = 0
    var count = 0
    for byte in bytes {
        bits = bits << 8 | UInt32(byte)
        count += 8
        while count >= 6 {
            count -= 6
            text.append(base64URLAlphabet[Int(bits >> UInt32(count) & 63)])
        }
    }
    if count > 0 { text.append(base64URLAlphabet[Int(bits << UInt32(6 - count) & 63)]) }
    return String(decoding: text, as: UTF8.self)
}

/// Decodes base64 of either alphabet, padded or not; nil for anything else.
package func decodeBase64(_ text: some StringProtocol) -> [UInt8]? {
    var bytes: [UInt8] = []
    var bits: UInt32 = 0
    var count = 0
    var padding = 0
    var digits = 0
    for character in text.utf8 {
        if character == UInt8(ascii: "=") {
            padding += 1
            continue
        }
        guard padding == 0, let value = base64Value(character) else { return nil }
        digits += 1
        bits = (bits << 6 | value) & 0xFFFFFF
        count += 6
        if count >= 8 {
            count -= 8
            bytes.append(UInt8(truncatingIfNeeded: bits >> UInt32(count)))
        }
    }
    guard padding <= 2, digits % 4 != 1, padding == 0 || (digits + padding) % 4 == 0 else {
        return nil
    }
    return bytes
}

private func base64Value(_ character: UInt8) -> UInt32? {
    switch character {
    case UInt8(ascii: "A")...UInt8(ascii: "Z"): UInt32(character - UInt8(ascii: "A"))
    case UInt8(ascii: "a")...UInt8(ascii: "z"): UInt32(character - UInt8(ascii: "a") + 26)
    case UInt8(ascii: "0")...UInt8(ascii: "9"): UInt32(character - UInt8(ascii: "0") + 52)
    case UInt8(ascii: "+"), UInt8(ascii: "-"): 62
    case UInt8(ascii: "/"), UInt8(ascii: "_"): 63
    default: nil
    }
}
