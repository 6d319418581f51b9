/// Exponential backoff with jitter: each pause is twice the last, up to a bound, of which a random
/// part in the upper half is taken, so that processes do not reconnect together.
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

    /// Milliseconds until the next attempt.
    /// - Parameter jitter: returns a random number from a range.
    package mutating func next(jitter: (ClosedRange<Int64>) -> Int64) -> Int64 {
        let pause = min(longest, first << Int64(min(tries, 10)))
        tries += 1
        return jitter(pause / 2...pause)
    }

    /// Begins anew after a success.
    package mutating func reset() {
        tries = 0
    }
}
