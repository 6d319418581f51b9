internal import ProxyGPT

/// Decides whether commands are sent to Redis at all: a value that gets the results.
///
/// It opens after three failures in a row or when the connection has ended. Its owner then tries
/// from time to time, each time after a longer pause, until one try has succeeded.
struct Breaker: Equatable {
    /// Failures in a row that open it.
    static let failureLimit = 3
    /// The most milliseconds between two tries.
    static let longestPause: Int64 = 2000

    /// Closed: commands pass. At the start it is open, with the first try due at once.
    private(set) var isClosed = false
    private var failures = 0
    private var pauses = Backoff(first: 100, longest: longestPause)

    /// A command was answered in time. Only this makes the pauses short again: a server that
    /// accepts connections and then answers nothing must not be tried ever more often.
    mutating func succeeded() {
        failures = 0
        pauses.reset()
    }

    /// A connection has existed for a while, whether it was used or not.
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
    mutating func nextPause(jitter: (ClosedRange<Int64>) -> Int64) -> Int64 {
        pauses.next(jitter: jitter)
    }
}
