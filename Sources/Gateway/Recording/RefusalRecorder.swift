internal import Formats
package import ProxyGPT
internal import Synchronization

/// Records refused requests of strangers: one by one up to a number a minute, and beyond it as one row
/// a minute and reason. The row of a minute's count is written when the minute is over.
///
/// The minute after one with too many has no single rows at all: a client that goes on all day adds
/// nothing but the counts.
package final class RefusalRecorder: Sendable {
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
    private let rows: EventBuilder
    private let state = Mutex(State())

    package init(events: any EventLog, clock: any Clock, identifiers: any IdentifierSource) {
        self.events = events
        self.clock = clock
        rows = EventBuilder(clock: clock, identifiers: identifiers)
    }

    package func record(_ event: Event) {
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
    /// - Parameter isLast: writes the counts now, since there is no later call.
    package func writeCounts(isLast: Bool = false) {
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
        var event = rows.row(.refused)
        let kind = reason.kind == .loginFailure ? "failed logins" : "requests"
        event.detail = "\(count) more \(kind) without a valid credential"
        event.status = reason.status
        event.end = .done
        return event
    }
}
