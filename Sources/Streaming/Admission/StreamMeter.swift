internal import Gateway
internal import Metrics
internal import ProxyGPT

/// Counts the streamer's requests, from their arrival to the end of their stream or call.
struct StreamMeter: Sendable {
    private let scoreboard: Scoreboard?

    init(_ scoreboard: Scoreboard?) {
        self.scoreboard = scoreboard
    }

    func began(_ event: Event) {
        scoreboard?.began(route: route(of: event), at: event.timestamp.milliseconds * 1000)
    }

    /// Called once for each that began, with its row as it is at the end.
    func ended(_ event: Event) {
        guard let scoreboard else { return }
        scoreboard.ended(
            route: route(of: event), status: event.status, after: event.durationMicroseconds ?? 0)
        scoreboard.countUpstream(event)
    }

    /// Of what is passed on the streamer has the WebSockets alone.
    private func route(of event: Event) -> Int {
        event.kind == .forward
            ? Endpoints.countedIndex(ofWebSocket: event.path)
            : Endpoints.countedIndex(of: event.path)
    }

    func preflight() {
        guard let scoreboard else { return }
        scoreboard.count(scoreboard.registry.preflights)
    }

    func refused(_ failure: Failure) {
        scoreboard?.countRefusal(failure, isFull: false)
    }
}
