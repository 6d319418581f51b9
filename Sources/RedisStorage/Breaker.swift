/// Decides whether Redis is asked at all: a value that is told what happened.
///
/// It opens after three failures in a row or when the connection has ended. Whoever owns it then
/// tries from time to time, each time after a longer pause, until one try has succeeded.
struct Breaker: Equatable {
    /// Failures in a row that open it.
    static let failureLimit = 3
    /// Milliseconds before the first try and before the later ones, at most.
    static let firstPause: Int64 = 100
    static let longestPause: Int64 = 2000

    /// Closed: commands pass. At the start it is open, with the first try due at once.
    private(set) var isClosed = false
    private var failures = 0
    private var tries = 0

    /// A command was answered in time. Only this makes the pauses short again: whoever takes
    /// connections and then answers nothing must not be tried ever more often.
    mutating func succeeded() {
        failures = 0
        tries = 0
    }

    /// A connection has stood for a while, of use or not asked for anything.
    mutating func stood() {
        if failures == 0 { tries = 0 }
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

    /// Milliseconds until the next try: from half the pause to the whole of it, so that processes
    /// which lost Redis in the same moment do not come back in the same moment.
    ///
    /// - Parameter jitter: any number, another one each time.
    mutating func nextPause(jitter: UInt64) -> Int64 {
        let pause = min(Self.longestPause, Self.firstPause << Int64(min(tries, 10)))
        tries += 1
        return pause / 2 + Int64(jitter % UInt64(pause / 2 + 1))
    }
}
