// Passwords are stored as scrypt hashes (RFC 7914), which cost an attacker memory as well as time.

internal import COpenSSL
internal import Formats
internal import ProxyGPT

/// A password hash with its parameters:
/// `scrypt$ln=15,r=8,p=3$<salt>$<hash>`, salt and hash in base64url.
package struct PasswordHash: Sendable, Equatable {
    /// The cost of a hash: memory is 128 × r × 2^ln bytes; time grows with p as well.
    package struct Cost: Sendable, Equatable {
        package let logarithm: Int
        package let blockSize: Int
        package let parallelism: Int

        package init(logarithm: Int, blockSize: Int, parallelism: Int) {
            self.logarithm = logarithm
            self.blockSize = blockSize
            self.parallelism = parallelism
        }

        /// 32 MiB where the logarithm is 15; as strong as the 128 MiB of one lane that OWASP's
        /// password storage cheat sheet names first, in a quarter of the memory.
        package static func standard(logarithm: Int) -> Cost {
            Cost(logarithm: logarithm, blockSize: 8, parallelism: 3)
        }

        /// Time, as a multiple of one SMix of one block.
        var work: Int { blockSize * parallelism << logarithm }
    }

    package let cost: Cost
    private let salt: [UInt8]
    private let hash: [UInt8]

    private static let scheme = "scrypt"
    private static let hashLength = 32

    /// Thrown when there is no memory to compute a hash in.
    package struct OutOfMemory: Error, CustomStringConvertible {
        package var description: String { "no memory to hash a password in" }
    }

    /// Hashes a password with new salt. Takes long and much memory: never on the loop.
    package init(of password: String, cost: Cost) throws(OutOfMemory) {
        self.cost = cost
        salt = Randomness.bytes(16)
        hash = try Self.derive(password, salt: salt, cost: cost)
    }

    /// Reads an encoded hash; nil for an unknown form.
    package init?(encoded text: String) {
        let fields = text.split(separator: "$", omittingEmptySubsequences: false)
        guard fields.count == 4, fields[0] == Self.scheme,
            let salt = decodeBase64(fields[2]), let hash = decodeBase64(fields[3]),
            hash.count == Self.hashLength
        else { return nil }
        let numbers = fields[1].split(separator: ",").map { pair in
            Int(pair.drop { $0 != "=" }.dropFirst())
        }
        guard numbers.count == 3,
            let logarithm = numbers[0], (1...22).contains(logarithm),
            let blockSize = numbers[1], (1...32).contains(blockSize),
            let parallelism = numbers[2], (1...16).contains(parallelism)
        else { return nil }
        cost = Cost(logarithm: logarithm, blockSize: blockSize, parallelism: parallelism)
        self.salt = salt
        self.hash = hash
    }

    package var encoded: String {
        "\(Self.scheme)$ln=\(cost.logarithm),r=\(cost.blockSize),p=\(cost.parallelism)"
            + "$\(base64URL(salt))$\(base64URL(hash))"
    }

    /// Whether the hash is that of `password`; takes the same time either way. Never on the loop.
    package func matches(_ password: String) throws(OutOfMemory) -> Bool {
        let candidate = try Self.derive(password, salt: salt, cost: cost)
        return CRYPTO_memcmp(candidate, hash, hash.count) == 0
    }

    private static func derive(
        _ password: String, salt: [UInt8], cost: Cost
    ) throws(OutOfMemory) -> [UInt8] {
        let password = Array(password.utf8)
        var hash = [UInt8](repeating: 0, count: hashLength)
        let memory = UInt64(256) * UInt64(cost.blockSize) << UInt64(cost.logarithm)
        let result = password.withUnsafeBytes { password in
            EVP_PBE_scrypt(
                password.baseAddress?.assumingMemoryBound(to: CChar.self), password.count, salt,
                salt.count, UInt64(1) << UInt64(cost.logarithm), UInt64(cost.blockSize),
                UInt64(cost.parallelism), memory + 1 << 20, &hash, hash.count)
        }
        // EVP_PBE_scrypt(3) fails for parameters out of range, which the initialisers exclude, and
        // when there is no memory: a hash that was not computed must never be compared.
        guard result == 1 else { throw OutOfMemory() }
        return hash
    }
}
