internal import COpenSSL
internal import Formats

/// Returns the SHA-256 (FIPS 180-4) of `bytes`.
package func sha256(_ bytes: [UInt8]) -> [UInt8] {
    var digest = [UInt8](repeating: 0, count: Int(SHA256_DIGEST_LENGTH))
    // EVP_Digest(3) fails for want of memory alone.
    let result = EVP_Digest(bytes, bytes.count, &digest, nil, sha256Algorithm, nil)
    precondition(result == 1, "libcrypto found no memory for a digest")
    return digest
}

/// Returns the SHA-256 of concatenated pieces.
func sha256(_ pieces: [[UInt8]]) -> [UInt8] {
    let digest = RunningSHA256()
    for piece in pieces { digest.update(piece.span) }
    return digest.value
}

/// The SHA-256 of bytes that arrive piece by piece.
///
/// Owns a context of libcrypto, which is one thread's at a time.
package final class RunningSHA256 {
    private let context = EVP_MD_CTX_new()

    package init() {
        require(EVP_DigestInit_ex2(context, sha256Algorithm, nil))
    }

    deinit { EVP_MD_CTX_free(context) }

    package func update(_ bytes: Span<UInt8>) {
        bytes.withUnsafeBytes { require(EVP_DigestUpdate(context, $0.baseAddress, $0.count)) }
    }

    /// The digest of all bytes so far. More may follow.
    package var value: [UInt8] {
        var digest = [UInt8](repeating: 0, count: Int(SHA256_DIGEST_LENGTH))
        let copy = EVP_MD_CTX_new()
        defer { EVP_MD_CTX_free(copy) }
        require(EVP_MD_CTX_copy_ex(copy, context))
        require(EVP_DigestFinal_ex(copy, &digest, nil))
        return digest
    }

    // These calls, too, fail for want of memory alone: EVP_DigestInit(3).
    private func require(_ result: Int32) {
        precondition(result == 1, "libcrypto found no memory for a digest")
    }
}

@available(*, unavailable)
extension RunningSHA256: Sendable {}

// Fetched once: SHA256() looks the algorithm up at every call, for longer than it hashes. Constant
// from then on, and libcrypto's own methods are safe to share between threads.
private nonisolated(unsafe) let sha256Algorithm = EVP_MD_fetch(nil, "SHA256", nil)
