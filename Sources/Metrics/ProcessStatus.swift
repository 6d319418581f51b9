/// What a pool's status page says of one process.
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
    /// Microseconds; nil while none has ended since.
    package let lastTime: Int64?

    init(_ words: [UInt64], _ catalog: Catalog) {
        func number(_ index: Int) -> Int { Int(clamping: words[index]) }
        process = number(Board.processWord)
        kind = ProcessKind(rawValue: number(Board.kindWord))?.name ?? "other"
        switch Scoreboard.State(rawValue: number(Board.stateWord)) {
        case .ready?: state = number(Board.inFlightWord) > 0 ? "busy" : "idle"
        case .draining?: state = "draining"
        case .starting?, nil: state = "starting"
        }
        startedAt = Int64(number(Board.startWord))
        requests = number(Board.requestsWord)
        errors = number(Board.errorsWord)
        inFlight = number(Board.inFlightWord)
        memory = number(Board.memoryWord)
        lastBeganAt = Int64(number(Board.lastBeginWord))
        let route = number(Board.lastRouteWord)
        lastRoute =
            lastBeganAt > 0 && route < catalog.routes.count ? catalog.routes[route] : nil
        let time = Int64(number(Board.lastTimeWord))
        lastTime = time > 0 ? time : nil
    }
}
