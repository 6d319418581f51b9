internal import ProxyGPT

/// Decides whether Redis is asked at all: a value that is told what happened.
///
/// It opens after three failures in a row or when the connection has ended. Whoever owns it then
/// tries from time to time, each time after a longer pause, until one try has succeeded.
struct Breaker: Equatable {
    /// Failures in a row that open it.
    static let failureLimit = 3
    /// Milliseconds between two tries, at most.
    static let longestPause: Int64 = 2000

    /// Closed: commands pass. At the start it is open, with the first try due at once.
    private(set) var isClosed = false
    private var failures = 0
    private var pauses = Backoff(first: 100, longest: longestPause)

    /// A command was answered in time. Only this makes the pauses short again: whoever takes
    /// connections and then answers nothing must not be tried ever more often.
    mutating func succeeded() {
        failures = 0
        pauses.reset()
    }

    /// A connection has stood for a while, of use or not asked for anything.
    mutating func stood() {
        if failures == 0 { pauses.reset() }
    }

    /// A command failed; true when that opens the breaker.
    mutating func failed() -> Bool {
        guard isClosed else { return false }
        failures += 1
        guard failures >= Self.failureLimit else { return false }
        isClosed = false
        return true
    }

    /// The connection ended.
    mutating func disconnected() {
        isClosed = false
    }

    /// A try succeeded.
    mutating func close() {
        isClosed = true
        failures = 0
    }

    /// Milliseconds until the next try.
    mutating func nextPause(spread: (ClosedRange<Int64>) -> Int64) -> Int64 {
        pauses.next(spread: spread)
    }
}
