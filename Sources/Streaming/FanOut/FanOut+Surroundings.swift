internal import Gateway
internal import Metrics
internal import ProxyGPT

extension FanOut {
    struct Limits: Sendable {
        let perUser: Int
        let perAddress: Int
        let total: Int
    }

    /// What the fan-out has from outside.
    struct Surroundings: Sendable {
        let storage: any StorageRequests
        let watched: WatchedChats
        let limits: Limits
        /// Milliseconds that only ever grow.
        let now: @Sendable () -> Int64
        /// A random number from a range.
        let spread: @Sendable (ClosedRange<Int64>) -> Int64
        var scoreboard: Scoreboard?
    }
}
