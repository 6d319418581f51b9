internal import ProxyGPT
internal import Synchronization

/// Closing rows that could not be written, for when rows can be written again. The end of a call is worth
/// knowing although its caller was answered that it is not recorded.
final class PendingCloseEvents: Sendable {
    private static let limit = 10_000

    private let events = Mutex<[Event.ID: Event]>([:])

    /// Keeps the latest closing row of a call; no more rows than the limit.
    func keep(_ event: Event) {
        events.withLock { events in
            guard events.count < Self.limit || events[event.id] != nil else { return }
            events[event.id] = event
        }
    }

    func forget(_ id: Event.ID) {
        events.withLock { $0[id] = nil }
    }

    func takeAll() -> [Event] {
        events.withLock { events in
            defer { events.removeAll() }
            return Array(events.values)
        }
    }
}
