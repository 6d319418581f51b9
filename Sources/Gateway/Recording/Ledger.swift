// The event rows of a process's requests, from the opening row to the closing one. Worker and streamer
// record by the same rules: a refused request of a stranger is counted, every other one is committed
// before its answer may count as given.

package import Logging
package import ProxyGPT
internal import Synchronization

/// Opens and closes the event rows of a process.
package final class Ledger: Sendable {
    private let events: any EventLog
    private let clock: any Clock
    private let logger: Logger
    private let refusals: RefusalRecorder
    /// Makes the rows.
    package let rows: EventBuilder
    private let pending = PendingCloseEvents()
    private let health = Atomic(true)

    package init(
        events: any EventLog, clock: any Clock, identifiers: any IdentifierSource, logger: Logger
    ) {
        self.events = events
        self.clock = clock
        self.logger = logger
        rows = EventBuilder(clock: clock, identifiers: identifiers)
        refusals = RefusalRecorder(events: events, clock: clock, identifiers: identifiers)
    }

    /// Whether the last row could be written: while none can, no call may cost money.
    package var isHealthy: Bool { health.load(ordering: .relaxed) }

    private func note(isHealthy: Bool) {
        health.store(isHealthy, ordering: .relaxed)
    }

    // MARK: - Opening

    /// Writes an opening row with the next commit.
    package func open(_ event: Event) {
        events.open(event)
    }

    /// Waits for the commit of an opening row. Throws `unavailable` where it cannot be written.
    package func opened(_ event: Event) async throws(Failure) {
        do {
            try await events.opened(event.id)
            note(isHealthy: true)
        } catch {
            note(isHealthy: false)
            log(error, event)
            throw .unrecorded
        }
    }

    // MARK: - Closing

    /// Notes in a closing row how long its request took.
    package func stamp(_ event: inout Event, since startedAt: Int64) {
        event.durationMicroseconds = clock.monotonicMicroseconds() - startedAt
    }

    /// Commits a closing row. False where that failed: the request must not count as answered. The row is
    /// written later then, if rows can be again.
    /// - Parameter end: how the call has ended if the row cannot be written; nil for as the row says.
    package func close(_ event: Event, orElse end: Event.End? = .error) async -> Bool {
        do {
            try await events.close(event)
            if !isHealthy { pending.forget(event.id) }
            note(isHealthy: true)
            return true
        } catch {
            note(isHealthy: false)
            var unwritten = event
            unwritten.end = end ?? event.end
            pending.keep(unwritten)
            log(error, event)
            return false
        }
    }

    /// Records a request without a valid credential, one by one up to a number a minute and counted beyond it:
    /// strangers must not be able to fill the disk. Waits for nothing.
    package func refuse(_ event: Event) {
        refusals.record(event)
    }

    private func log(_ error: any Error, _ event: Event) {
        logger.error(
            "event not recorded",
            metadata: [
                "request.id": "\(event.requestID)", "error": "\(String(describing: error))",
            ])
    }

    // MARK: - Time

    /// Does what falls due with time. Called once a second.
    /// - Parameter isLast: whether no call comes after this one.
    package func tick(isLast: Bool = false) {
        refusals.writeCounts(isLast: isLast)
        if isHealthy {
            for event in pending.takeAll() { events.record(event) }
        }
    }
}

extension Failure {
    /// No row can be written, as on a full disk.
    package static let unrecorded = Failure(
        .unavailable, "Nothing can be recorded just now.", retryAfter: 5)
}
