internal import EventLoop
internal import Formats
internal import ProxyGPT

/// Hashes and checks passwords on threads of its own: one for log-ins, one for everything else, and
/// a bounded queue for each.
package struct PasswordHasher: Sendable {
    /// What a hash is for.
    package enum Purpose: Sendable {
        /// A log-in, which comes first.
        case login
        /// A new password, and the old one that is checked for it.
        case change
    }

    private static let loginCapacity = 32
    private static let changeCapacity = 21

    private let queue = HashQueue(loginCapacity: loginCapacity, changeCapacity: changeCapacity)
    private let turns: HashTurns
    private let cost: PasswordHash.Cost
    /// Checked for unknown names, so that they take as long as known ones.
    private let decoy: PasswordHash

    /// - Parameter waitLimit: how long work waits for its turn, in milliseconds.
    package init(
        cost: PasswordHash.Cost = .standard, waitLimit: Int64 = HashTurns.waitLimit
    ) throws {
        self.cost = cost
        turns = HashTurns(waitLimit: waitLimit)
        decoy = try PasswordHash(of: base64URL(Randomness.bytes(16)), cost: cost)
    }

    /// Runs `body` while no other work for the same user name or user runs in this process. Throws
    /// `rateLimited` where its turn would come after more than the limit.
    package func inTurn<T>(
        of key: String, for purpose: Purpose, _ body: () async throws -> T
    ) async throws -> T {
        let kind: UInt8 = purpose == .login ? 0 : 1
        return try await turns.run([kind] + Array(key.utf8), body)
    }

    /// Waits for some milliseconds, for work that waits for other processes.
    package func pause(milliseconds: Int64) async {
        await EventLoop.sleep(milliseconds: milliseconds)
    }

    /// Returns the encoded hash of a password. Throws `unavailable` when too many wait.
    /// - Parameter party: as in `check`.
    package func hash(_ password: String, by party: String = "") async throws -> String {
        try await run(.change, by: party) { try encodedHash(of: password) }
    }

    package enum Verdict: Sendable, Equatable {
        case wrong
        case right
        /// Right, and here is the encoded hash by today's rules to store instead.
        case rightButWeak(stronger: String)
    }

    /// Checks a password against an encoded hash, or against nothing for an unknown user: always
    /// `wrong` then, and as slow. Throws `unavailable` when too many wait.
    /// - Parameter party: who asks, an address or a user. Parties take turns, however much of one waits.
    package func check(
        _ password: String, against encoded: String?, for purpose: Purpose = .login,
        by party: String = ""
    ) async throws -> Verdict {
        try await run(purpose, by: party) {
            let stored = encoded.flatMap { PasswordHash(encoded: $0) }
            // The same derivations for known and unknown alike.
            let hash = stored ?? decoy
            let normalized = Self.normalized(password)
            var isRight = try hash.matches(normalized)
            var isRenewed = false
            if !isRight, !password.utf8.elementsEqual(normalized.utf8) {
                // A hash of before passwords were normalized.
                isRight = try hash.matches(password)
                isRenewed = true
            }
            guard let stored, isRight else { return .wrong }
            if stored.cost == cost, !isRenewed { return .right }
            return .rightButWeak(stronger: try encodedHash(of: password))
        }
    }

    private func encodedHash(of password: String) throws -> String {
        try PasswordHash(of: Self.normalized(password), cost: cost).encoded
    }

    /// One password has one sequence of bytes, whatever keyboard it came from (RFC 8265). The
    /// callers limit its length.
    private static func normalized(_ password: String) -> String {
        NormalizationFormC.normalized(password)
    }

    private func run<T: Sendable>(
        _ purpose: Purpose, by party: String, _ body: @escaping @Sendable () throws -> T
    ) async throws -> T {
        do {
            return try await queue.run(
                isLogin: purpose == .login, of: Array(party.utf8), body)
        } catch is HashQueue.Full {
            throw Failure(
                .unavailable, "Too many passwords are being checked. Try again.", retryAfter: 2)
        }
    }
}
