/// Decides how long the next login attempt must wait after failures. A value: the store has the
/// counters, and the time is an argument.
///
/// An attempt is counted before the password is hashed. No more attempts run at once than may fail
/// without a delay, so that parallel guesses do not avoid the delay.
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

    /// An attempt that began this long ago is not running any more: its process has died.
    package static let abandonedAfter: Int64 = 60

    /// Whether an attempt may begin.
    package enum Admission: Sendable, Equatable {
        case admitted
        /// Too many attempts have failed: seconds to wait.
        case delayed(Int)
        /// The decision depends on running attempts.
        case undecided
    }

    private var pairKey: String { "pair:\(block) \(account)" }
    private var blockKey: String { "block:\(block)" }
    private var accountKey: String { "account:\(account)" }

    /// The counters that a failure raises, in the order in which all processes lock them.
    package var keys: [String] { [pairKey, blockKey, accountKey] }

    /// The counters that a success resets: not the address block's, or an attacker's own account
    /// would reset it.
    package var keysOfSuccess: [String] { [pairKey, accountKey] }

    /// Whether an attempt may begin now, beside those that run.
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

    /// Seconds to wait before the next attempt, 0 when it may begin now.
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
        // A failure in the future means that the clock was set back, which must lock no user out
        // until then. The clocks of two hosts may differ by one second.
        guard milliseconds > 0, milliseconds <= (delay + 1) * 1000 else { return 0 }
        return min(delay, (milliseconds + 999) / 1000)
    }

    /// The network that one subscriber usually has: a whole IPv4 address, 64 bits of IPv6.
    package static func block(of address: String) -> String {
        guard address.contains(":") else { return address }
        let groups = address.split(separator: ":")
        // A socket for both families shows its IPv4 clients as ::ffff:192.0.2.1.
        if let last = groups.last, last.contains(".") { return String(last) }
        // The groups before the "::", and the zeros that it replaces.
        let front = address.split(separator: ":", omittingEmptySubsequences: false)
            .prefix { !$0.isEmpty }
        let zeros = repeatElement(Substring("0"), count: max(0, 8 - groups.count))
        let network = (front + zeros + groups.dropFirst(front.count)).prefix(4)
        return network.joined(separator: ":") + "::/64"
    }
}
