internal import Gateway
internal import Metrics

/// What the fan-out counts.
extension Scoreboard {
    func noteBegin(of subscription: Subscription) {
        let transport: MetricRegistry.Transport =
            subscription.transport == .serverSentEvents ? .serverSentEvents : .webSocket
        count(registry.streamsBegun, transport.rawValue)
        if case .after = subscription.resumption { count(registry.streamsResumed) }
    }

    func noteSubscribers(wire: Wire, _ number: Int) {
        set(registry.subscribers, Self.series(wire), Int64(number))
    }

    func noteFrames(_ number: Int, wire: Wire) {
        count(registry.framesDelivered, Self.series(wire), by: Int64(number))
    }

    func noteReset() {
        count(registry.streamResets)
    }

    func noteEnd(_ ending: Ending) {
        if let index = MetricRegistry.streamEndings.firstIndex(of: ending.word) {
            count(registry.streamsEnded, index)
        }
        if ending == .overload { count(registry.refusals, MetricRegistry.Refusal.streams.rawValue) }
    }

    private static func series(_ wire: Wire) -> Int {
        let transport: MetricRegistry.Transport =
            wire == .serverSentEvents ? .serverSentEvents : .webSocket
        return transport.rawValue
    }
}

extension Ending {
    /// The name of this ending in the metrics.
    fileprivate var word: String {
        switch self {
        case .left: "left"
        case .closed: "closed"
        case .protocolError: "protocol_error"
        case .dead: "dead"
        case .slow: "slow"
        case .notAllowed: "not_allowed"
        case .restart: "restart"
        case .overload: "overload"
        case .failed: "failed"
        }
    }
}
