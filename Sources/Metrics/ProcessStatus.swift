/// One process on the status page.
package struct ProcessStatus: Sendable {
    package let process: Int
    package let kind: String
    package let state: String
    /// Microseconds since 1970.
    package let startedAt: Int64
    package let requests: Int
    package let errors: Int
    package let inFlight: Int
    package let memory: Int
    /// The route of the request that began last; nil before the first.
    package let lastRoute: String?
    package let lastBeganAt: Int64
    /// Microseconds; nil while that request runs.
    package let lastTime: Int64?

    init(_ counters: [UInt64], _ registry: MetricRegistry) {
        func number(_ index: Int) -> Int { Int(clamping: counters[index]) }
        process = number(CounterLayout.processIndex)
        kind = ProcessKind(rawValue: number(CounterLayout.kindIndex))?.name ?? "other"
        switch Scoreboard.State(rawValue: number(CounterLayout.stateIndex)) {
        case .ready?: state = number(CounterLayout.inFlightIndex) > 0 ? "busy" : "idle"
        case .draining?: state = "draining"
        case .starting?, nil: state = "starting"
        }
        startedAt = Int64(number(CounterLayout.startIndex))
        requests = number(CounterLayout.requestsIndex)
        errors = number(CounterLayout.errorsIndex)
        inFlight = number(CounterLayout.inFlightIndex)
        memory = number(CounterLayout.memoryIndex)
        lastBeganAt = Int64(number(CounterLayout.lastBeginIndex))
        let route = number(CounterLayout.lastRouteIndex)
        lastRoute =
            lastBeganAt > 0 && route < registry.routes.count ? registry.routes[route] : nil
        let time = Int64(number(CounterLayout.lastTimeIndex))
        lastTime = time > 0 ? time : nil
    }
}
