internal import ProxyGPT
internal import Synchronization

/// Records refused requests of strangers: one by one up to a number a minute, and beyond it as one row
/// a minute and reason. The row of a minute's count is written when the minute is over.
///
/// The minute after one with too many has no single rows at all: a client that goes on all day adds
/// nothing but the counts.
final class RefusalRecorder: Sendable {
    /// What rows that are counted together have in common.
    private struct Reason: Hashable {
        let kind: Event.Kind
        let status: Int?
    }

    private struct State {
        var minuteEnd: Int64 = 0
        /// Refusals of this minute.
        var refused = 0
        var mayRecord = true
        var counts: [Reason: Int64] = [:]
    }

    /// Rows of their own within a minute.
    private static let limit = 100
    /// Bytes of a path: with them a row stays small enough for SQLite to keep several in a page. Beyond
    /// a quarter of a page each would take one of its own besides.
    private static let pathLimit = 512
    private static let minute: Int64 = 60_000_000

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
        writeCounts()
        let isRecorded = state.withLock { state in
            state.refused += 1
            guard state.mayRecord, state.refused <= Self.limit else {
                state.counts[Reason(kind: event.kind, status: event.status), default: 0] += 1
                return false
            }
            return true
        }
        guard isRecorded else { return }
        var event = event
        event.path = event.path.beginning(bytes: Self.pathLimit)
        events.record(event)
    }

    /// Writes what was only counted, once its minute is over.
    /// - Parameter isLast: writes it now, since nobody will later.
    func writeCounts(isLast: Bool = false) {
        let now = clock.monotonicMicroseconds()
        let counts = state.withLock { state -> [Reason: Int64] in
            guard isLast || now >= state.minuteEnd else { return [:] }
            // A minute begins with its first refusal; one without any is as good as a new start.
            let isNext = now - state.minuteEnd < Self.minute
            state.mayRecord = !(isNext && state.refused > Self.limit)
            state.minuteEnd = now + Self.minute
            state.refused = 0
            defer { state.counts = [:] }
            return state.counts
        }
        for (reason, count) in counts { events.record(row(reason, count)) }
    }

    private func row(_ reason: Reason, _ count: Int64) -> Event {
        var event = Event(
            id: Event.ID(identifiers.next()), timestamp: clock.now(), kind: .refused)
        let kind = reason.kind == .loginFailure ? "failed logins" : "requests"
        event.detail = "\(count) more \(kind) without a valid credential"
        event.status = reason.status
        event.end = .done
        return event
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
