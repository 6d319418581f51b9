/// Decides how long somebody who keeps failing to log in must wait. Pure: the counters are the
/// store's, the time an argument.
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

    private var pairKey: String { "pair:\(block) \(account)" }
    private var blockKey: String { "block:\(block)" }
    private var accountKey: String { "account:\(account)" }

    /// The counters that a failure raises.
    package var keys: [String] { [pairKey, blockKey, accountKey] }

    /// The counters that a success forgets: not the block's, or one's own account would clear it.
    package var keysOfSuccess: [String] { [pairKey, accountKey] }

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
        let milliseconds = failures.lastAt.adding(seconds: delay).milliseconds - now.milliseconds
        guard milliseconds > 0 else { return 0 }
        // A clock that was set back must not lock anybody out for longer.
        return min(delay, (milliseconds + 999) / 1000)
    }

    /// The network that one subscriber usually has: a whole IPv4 address, 64 bits of IPv6.
    private static func block(of address: String) -> String {
        guard address.contains(":") else { return address }
        let halves = address.split(separator: ":", omittingEmptySubsequences: false)
        var groups: [Substring] = []
        for group in halves {
            if group.isEmpty && !groups.isEmpty { break }
            groups.append(group.isEmpty ? "0" : group)
            if groups.count == 4 { break }
        }
        while groups.count < 4 { groups.append("0") }
        return groups.joined(separator: ":") + "::/64"
    }
}
