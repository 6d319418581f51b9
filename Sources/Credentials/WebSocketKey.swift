internal import COpenSSL
internal import Formats

/// The key and its answer in a WebSocket's handshake (RFC 6455, section 4.2.2).
package enum WebSocketKey {
    private static let suffix = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

    /// The value of `Sec-WebSocket-Accept` for a key; nil when the key is malformed.
    package static func answer(to key: String) -> String? {
        guard key.utf8.count == 24, decodeBase64(key)?.count == 16 else { return nil }
        return base64(sha1(Array((key + suffix).utf8)))
    }

    // SHA-1 suffices: the answer is a check against confused intermediaries, not a secret.
    static func sha1(_ bytes: [UInt8]) -> [UInt8] {
        var digest = [UInt8](repeating: 0, count: Int(SHA_DIGEST_LENGTH))
        let result = EVP_Digest(bytes, bytes.count, &digest, nil, sha1Algorithm, nil)
        precondition(result == 1, "libcrypto found no memory for a digest")
        return digest
    }
}

// Fetched once, see `sha256Algorithm`.
private nonisolated(unsafe) let sha1Algorithm = EVP_MD_fetch(nil, "SHA1", nil)
