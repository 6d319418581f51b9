internal import EventLoop
internal import Logging
internal import Metrics
package import ProxyGPT
internal import Synchronization

/// Writes events through the writer's batches, past the machinery of transactions.
package final class EventWriter: EventLog {
    private let queue: WriteQueue
    private let scoreboard: Scoreboard?
    private let logger: Logger
    private let dropped = Mutex(RareReport())

    init(_ queue: WriteQueue, scoreboard: Scoreboard? = nil, logger: Logger) {
        self.scoreboard = scoreboard
        self.queue = queue
        self.logger = logger
    }

    package func open(_ event: Event) {
        if !queue.open(event) { drop() }
    }

    package func opened(_ id: Event.ID) async throws {
        try await withUnsafeThrowingContinuation { continuation in
            queue.force(id, continuation)
        }
    }

    package func close(_ event: Event) async throws {
        try await withUnsafeThrowingContinuation { continuation in
            let row = EventRow(event, continuation: continuation)
            if !queue.close(row) { row.finish(DatabaseError.closed) }
        }
    }

    package func record(_ event: Event) {
        if !queue.record(event) { drop() }
    }

    /// The numbers of waiting rows and transactions, for tests and metrics.
    var waitingRows: Int { queue.counts.rows }
    var waitingTransactions: Int { queue.counts.transactions }

    /// Opening rows that something is remembered of.
    var remembered: Int { queue.counts.openings }

    /// Counts a lost row; one log line a second at most has the number.
    private func drop() {
        if let scoreboard { scoreboard.count(scoreboard.registry.eventsDropped) }
        let count = dropped.withLock { $0.add(now: monotonicMilliseconds()) }
        if let count {
            logger.warning("events dropped", metadata: ["events.count": "\(count)"])
        }
    }
}
