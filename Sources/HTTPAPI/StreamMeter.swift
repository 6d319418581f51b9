internal import Metrics
internal import ProxyGPT

/// Counts the streamer's requests: from the look at them to the end of what came of them.
struct StreamMeter: Sendable {
    private let scoreboard: Scoreboard?

    init(_ scoreboard: Scoreboard?) {
        self.scoreboard = scoreboard
    }

    func began(_ event: Event) {
        scoreboard?.began(
            route: Router.countedIndex(of: event.path), at: event.timestamp.milliseconds * 1000)
    }

    /// Called once for each that began, with its row as it is at the end.
    func ended(_ event: Event) {
        guard let scoreboard else { return }
        scoreboard.ended(
            route: Router.countedIndex(of: event.path), status: event.status,
            after: event.durationMicroseconds ?? 0)
        scoreboard.countUpstream(event)
    }

    func refused(_ failure: Failure) {
        scoreboard?.countRefusal(failure, isFull: false)
    }
}
