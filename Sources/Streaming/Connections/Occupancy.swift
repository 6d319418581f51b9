internal import ProxyGPT

/// How many connections of a kind may be open.
struct ConnectionLimits: Sendable {
    let perUser: Int
    let perAddress: Int
    let total: Int
}

/// Counts the open connections of a kind, by user and client address.
struct Occupancy {
    /// Why there is no room for one more.
    enum Shortage {
        /// The process has as many as it takes.
        case total
        /// The user or the address has.
        case client
    }

    let limits: ConnectionLimits
    private var total = 0
    private var ofUser: [User.ID: Int] = [:]
    private var ofAddress: [String: Int] = [:]

    init(_ limits: ConnectionLimits) {
        self.limits = limits
    }

    /// Nil where there is room for one more connection of this user from this address.
    func shortage(for user: User.ID, at address: String) -> Shortage? {
        if total >= limits.total { return .total }
        let isFull =
            ofUser[user, default: 0] >= limits.perUser
            || ofAddress[address, default: 0] >= limits.perAddress
        return isFull ? .client : nil
    }

    mutating func add(_ user: User.ID, at address: String) {
        total += 1
        ofUser[user, default: 0] += 1
        ofAddress[address, default: 0] += 1
    }

    mutating func remove(_ user: User.ID, at address: String) {
        total -= 1
        Self.countDown(&ofUser[user])
        Self.countDown(&ofAddress[address])
    }

    /// Takes one off a count; what counts nothing is not kept.
    private static func countDown(_ count: inout Int?) {
        count = count.flatMap { $0 > 1 ? $0 - 1 : nil }
    }
}
