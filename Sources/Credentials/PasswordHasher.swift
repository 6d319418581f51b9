internal import EventLoop
internal import Formats
internal import ProxyGPT

/// Hashes and checks passwords on threads of its own: one for log-ins, one for everything else, and
/// a bounded queue for each.
package struct PasswordHasher: Sendable {
    /// The purpose of a hash, which decides its priority.
    package enum Purpose: Sendable {
        /// A log-in, which comes first.
        case login
        /// A new password, and the check of the old one.
        case change
    }

    private static let loginCapacity = 32
    private static let changeCapacity = 21

    private let queue = HashQueue(loginCapacity: loginCapacity, changeCapacity: changeCapacity)
    private let turns: HashTurns
    private let cost: PasswordHash.Cost
    /// A hash that is checked for unknown names, so that they take as long as known ones.
    private let decoy: PasswordHash

    /// - Parameter waitLimit: the longest wait, in milliseconds.
    package init(cost: PasswordHash.Cost, waitLimit: Int64 = HashTurns.waitLimit) throws {
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

    /// Suspends for some milliseconds, for work that waits for other processes.
    package func pause(milliseconds: Int64) async {
        await EventLoop.sleep(milliseconds: milliseconds)
    }

    /// Returns the encoded hash of a password. Throws `unavailable` when the queue is full.
    /// - Parameter party: as in `check`.
    package func hash(_ password: String, by party: String = "") async throws -> String {
        try await run(.change, by: party) { try Self.encodedHash(of: password, cost: cost) }
    }

    package enum Verdict: Sendable, Equatable {
        case wrong
        case right
        /// The password is right, and this encoded hash with today's parameters is to be stored.
        case rightButWeak(stronger: String)
    }

    /// Checks a password against an encoded hash. Without a hash, for an unknown user, the result
    /// is `wrong` after the same time. Throws `unavailable` when the queue is full.
    /// - Parameter party: the address or user of the request. Parties take turns.
    package func check(
        _ password: String, against encoded: String?, for purpose: Purpose = .login,
        by party: String = ""
    ) async throws -> Verdict {
        try await run(purpose, by: party) {
            let stored = encoded.flatMap { PasswordHash(encoded: $0) }
            // Known and unknown users cost the same derivations.
            let hash = stored ?? decoy
            let normalized = Self.normalized(password)
            var isRight = try hash.matches(normalized)
            var isRenewed = false
            if !isRight, !password.utf8.elementsEqual(normalized.utf8) {
                // A hash of an older release, which did not normalize passwords.
                isRight = try hash.matches(password)
                isRenewed = true
            }
            guard let stored, isRight else { return .wrong }
            if stored.cost.work >= cost.work, !isRenewed { return .right }
            return .rightButWeak(stronger: try Self.encodedHash(of: password, cost: cost))
        }
    }

    /// Hashes a password on the calling thread, which must not be a loop that serves requests.
    package static func encodedHash(of password: String, cost: PasswordHash.Cost) throws -> String {
        try PasswordHash(of: normalized(password), cost: cost).encoded
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
