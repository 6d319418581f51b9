internal import EventLoop
internal import Logging
internal import Metrics
package import ProxyGPT
internal import Synchronization

/// Writes events through the writer's groups, past the machinery of transactions.
package final class EventWriter: EventLog {
    /// Lost rows since the last line about them.
    private struct Dropped {
        var count = 0
        var nextLine: Int64 = 0
    }

    private let queue: WriteQueue
    private let scoreboard: Scoreboard?
    private let logger: Logger
    private let dropped = Mutex(Dropped())

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

    /// How many rows and transactions wait, for tests and for whoever watches the process.
    var waitingRows: Int { queue.counts.rows }
    var waitingTransactions: Int { queue.counts.transactions }

    /// Opening rows that something is remembered of.
    var remembered: Int { queue.counts.openings }

    /// Counts a lost row; one line a second at most tells how many there were.
    private func drop() {
        if let scoreboard { scoreboard.count(scoreboard.catalog.eventsDropped) }
        let now = monotonicMilliseconds()
        let count: Int? = dropped.withLock { dropped in
            dropped.count += 1
            guard now >= dropped.nextLine else { return nil }
            dropped.nextLine = now &+ 1000
            defer { dropped.count = 0 }
            return dropped.count
        }
        if let count {
            logger.warning("events dropped", metadata: ["events.count": "\(count)"])
        }
    }
}
