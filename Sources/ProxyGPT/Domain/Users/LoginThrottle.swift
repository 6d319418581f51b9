/// Decides how long somebody who keeps failing to log in must wait. Pure: the counters are the
/// store's, the time an argument.
///
/// A try is counted before the password is hashed. While it is under way it has not failed yet; but
/// as many tries as may still fail are under way at once, so that parallel guesses do not pass the
/// delay together.
///
/// Three counters rise with a failure: of the account from this address block, which protects one
/// password; of the address block, which stops trying one password on many accounts; and of the
/// account from anywhere, whose delay stays so short that no stranger can lock a user out.
package struct LoginThrottle: Sendable {
    package let account: String
    package let block: String

    private static let accountDelayLimit: Int64 = 2
    private static let delayLimit: Int64 = 60
    private static let freeFailures: Int64 = 5
    private static let freeFailuresOfBlock: Int64 = 50

    /// A counter that did not rise for this long starts anew, in seconds.
    package static let forgetAfter: Int64 = 3600

    package init(foldedName: String, clientAddress: String) {
        account = foldedName
        block = Self.block(of: clientAddress)
    }

    /// A try that began this long ago is under way no more: its process has died.
    package static let abandonedAfter: Int64 = 60

    /// Whether a try may begin.
    package enum Admission: Sendable, Equatable {
        case admitted
        /// Too many tries have failed: seconds to wait.
        case delayed(Int)
        /// Whether it may depends on tries that are under way.
        case undecided
    }

    private var pairKey: String { "pair:\(block) \(account)" }
    private var blockKey: String { "block:\(block)" }
    private var accountKey: String { "account:\(account)" }

    /// The counters that a failure raises, in the order in which all processes lock them.
    package var keys: [String] { [pairKey, blockKey, accountKey] }

    /// The counters that a success forgets: not the block's, or one's own account would clear it.
    package var keysOfSuccess: [String] { [pairKey, accountKey] }

    /// Whether a try may begin now, beside those that are under way.
    package func admission(_ failures: [String: LoginFailures], now: Timestamp) -> Admission {
        let delay = delay(failures, now: now)
        guard delay == 0 else { return .delayed(delay) }
        let isUndecided = [
            (pairKey, Self.freeFailures), (blockKey, Self.freeFailuresOfBlock),
            (accountKey, Self.freeFailures),
        ].contains { key, free in
            guard let failures = failures[key], failures.underWay > 0 else { return false }
            return failures.count >= free || failures.underWay >= free - failures.count
        }
        return isUndecided ? .undecided : .admitted
    }

    /// Seconds to wait before the next try, 0 when it may be made now.
    package func delay(_ failures: [String: LoginFailures], now: Timestamp) -> Int {
        let waits = [
            Self.wait(failures[pairKey], free: Self.freeFailures, limit: Self.delayLimit, now),
            Self.wait(
                failures[blockKey], free: Self.freeFailuresOfBlock, limit: Self.delayLimit, now),
            Self.wait(
                failures[accountKey], free: Self.freeFailures, limit: Self.accountDelayLimit, now),
        ]
        return Int(waits.max() ?? 0)
    }

    private static func wait(
        _ failures: LoginFailures?, free: Int64, limit: Int64, _ now: Timestamp
    ) -> Int64 {
        guard let failures, failures.count >= free else { return 0 }
        let doublings = min(6, failures.count - free)
        let delay = min(limit, Int64(1) << doublings)
        let milliseconds = failures.lastAt.adding(seconds: delay).milliseconds &- now.milliseconds
        // A failure that lies ahead tells of a clock that was set back, which must lock nobody out
        // until it has caught up. One second is what the clocks of two hosts may differ by.
        guard milliseconds > 0, milliseconds <= (delay + 1) * 1000 else { return 0 }
        return min(delay, (milliseconds + 999) / 1000)
    }

    /// The network that one subscriber usually has: a whole IPv4 address, 64 bits of IPv6.
    package static func block(of address: String) -> String {
        guard address.contains(":") else { return address }
        let groups = address.split(separator: ":")
        // A socket for both families shows its IPv4 clients as ::ffff:192.0.2.1.
        if let last = groups.last, last.contains(".") { return String(last) }
        // What stands in front of the "::", and the zeros that it stands for.
        let front = address.split(separator: ":", omittingEmptySubsequences: false)
            .prefix { !$0.isEmpty }
        let zeros = repeatElement(Substring("0"), count: max(0, 8 - groups.count))
        let network = (front + zeros + groups.dropFirst(front.count)).prefix(4)
        return network.joined(separator: ":") + "::/64"
    }
}
