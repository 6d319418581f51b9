internal import ProxyGPT
internal import Synchronization

/// Records refused requests of strangers: one by one up to a rate, and beyond it as a count.
final class RefusalRecorder: Sendable {
    private struct State {
        var second: Int64 = 0
        var recorded = 0
        var counted: Int64 = 0
    }

    /// Rows of their own within a second.
    private static let rate = 100

    private let events: any EventLog
    private let clock: any Clock
    private let identifiers: any IdentifierSource
    private let state = Mutex(State())

    init(events: any EventLog, clock: any Clock, identifiers: any IdentifierSource) {
        self.events = events
        self.clock = clock
        self.identifiers = identifiers
    }

    func record(_ event: Event) {
        let second = clock.monotonicMicroseconds() / 1_000_000
        let isRecorded = state.withLock { state in
            if state.second != second {
                state.second = second
                state.recorded = 0
            }
            guard state.recorded < Self.rate else {
                state.counted += 1
                return false
            }
            state.recorded += 1
            return true
        }
        if isRecorded { events.record(event) }
    }

    /// Writes one row for those that were only counted since the last time.
    func writeCount() {
        let count = state.withLock { state in
            defer { state.counted = 0 }
            return state.counted
        }
        guard count > 0 else { return }
        var event = Event(
            id: Event.ID(identifiers.next()), timestamp: clock.now(), kind: .refused)
        event.detail = "\(count) more requests without a valid credential"
        event.end = .done
        events.record(event)
    }
}

/// Remembers whether the last row could be written: while none can, no call may cost money.
final class EventHealth: Sendable {
    private let well = Atomic(true)

    var isWell: Bool { well.load(ordering: .relaxed) }

    func note(isWell: Bool) {
        well.store(isWell, ordering: .relaxed)
    }
}

/// Closing rows that could not be written, for when rows can be written again. Their calls were
/// not answered as if they were recorded; what became of them is still worth knowing.
final class UnclosedEvents: Sendable {
    private static let limit = 10_000

    private let events = Mutex<[Event.ID: Event]>([:])

    /// Keeps the latest closing row of a call; none beyond the limit.
    func keep(_ event: Event) {
        var event = event
        event.end = .error
        events.withLock { [event] events in
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
