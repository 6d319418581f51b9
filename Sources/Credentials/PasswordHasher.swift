internal import EventLoop
internal import ProxyGPT

/// Hashes and checks passwords on threads of its own: two at once, and a bounded queue.
package struct PasswordHasher: Sendable {
    private let threads = ThreadPool(name: "scrypt", threads: 2, capacity: 32)
    private let cost: PasswordHash.Cost
    /// Checked for unknown names, so that they take as long as known ones.
    private let decoy: PasswordHash

    package init(cost: PasswordHash.Cost = .standard) throws {
        self.cost = cost
        decoy = try PasswordHash(of: base64URL(Randomness.bytes(16)), cost: cost)
    }

    /// Returns the encoded hash of a password. Throws `unavailable` when too many wait.
    package func hash(_ password: String) async throws -> String {
        try await run { try PasswordHash(of: password, cost: cost).encoded }
    }

    package enum Verdict: Sendable, Equatable {
        case wrong
        case right
        /// Right, and here is the encoded hash by today's cost to store instead.
        case rightButWeak(stronger: String)
    }

    /// Checks a password against an encoded hash, or against nothing for an unknown user: always
    /// `wrong` then, and as slow. Throws `unavailable` when too many wait.
    package func check(_ password: String, against encoded: String?) async throws -> Verdict {
        try await run {
            let stored = encoded.flatMap { PasswordHash(encoded: $0) }
            // The one derivation for known and unknown alike.
            let isRight = try (stored ?? decoy).matches(password)
            guard let stored, isRight else { return .wrong }
            if stored.cost == cost { return .right }
            return .rightButWeak(stronger: try PasswordHash(of: password, cost: cost).encoded)
        }
    }

    private func run<T: Sendable>(_ body: @escaping @Sendable () throws -> T) async throws -> T {
        do {
            return try await threads.run(body)
        } catch is ThreadPool.Full {
            throw Failure(
                .unavailable, "Too many passwords are being checked. Try again.", retryAfter: 2)
        }
    }
}
