/// How long to wait between tries that fail: twice as long each time, up to a bound, and somewhere in the
/// upper half of that, so that processes that lost a server together do not come back together.
package struct Backoff: Sendable, Equatable {
    private let first: Int64
    private let longest: Int64
    private var tries = 0

    /// - Parameters:
    ///   - first: milliseconds before the first try, at most.
    ///   - longest: milliseconds before any later one, at most.
    package init(first: Int64, longest: Int64) {
        self.first = first
        self.longest = longest
    }

    /// Milliseconds until the next try.
    /// - Parameter jitter: gives a number from a range, another one each time.
    package mutating func next(jitter: (ClosedRange<Int64>) -> Int64) -> Int64 {
        let pause = min(longest, first << Int64(min(tries, 10)))
        tries += 1
        return jitter(pause / 2...pause)
    }

    /// Begins anew: a try was of use.
    package mutating func reset() {
        tries = 0
    }
}
