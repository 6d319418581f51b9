internal import Gateway
internal import Metrics
internal import ProxyGPT

extension FanOut {
    /// What the fan-out has from outside.
    struct Dependencies: Sendable {
        let storage: any StreamRequests
        let watched: WatchedChats
        let limits: ConnectionLimits
        /// Milliseconds that only ever grow.
        let now: @Sendable () -> Int64
        /// A random number from a range.
        let jitter: @Sendable (ClosedRange<Int64>) -> Int64
        var scoreboard: Scoreboard?
    }
}
