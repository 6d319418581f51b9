// Commits events in batches, as Writer does for SQLite: while one batch is under way the next
// gathers in the queue. Runs on the loop. Knows no table itself; see PostgresEvents.

internal import EventLoop
internal import Logging
internal import Metrics
internal import ProxyGPT

/// Wakes a task of the loop that waits.
final class LoopWakeup: Wakeup {
    @EventLoop private final class Sleeper {
        private var isSignaled = false
        private var continuation: UnsafeContinuation<Void, Never>?

        nonisolated init() {}

        func signal() {
            isSignaled = true
            let waiting = continuation
            continuation = nil
            waiting?.resume()
        }

        func wait(until deadline: Int64?) async {
            if !isSignaled {
                let timer = deadline.map { deadline in
                    EventLoop.schedule(
                        afterMilliseconds: deadline &- monotonicMilliseconds()
                    ) { self.signal() }
                }
                await withUnsafeContinuation { waiting in
                    if isSignaled { waiting.resume() } else { continuation = waiting }
                }
                timer?.cancel()
            }
            isSignaled = false
        }
    }

    private let sleeper = Sleeper()

    func signal() {
        let sleeper = sleeper
        if EventLoop.shared.executor.isCurrent {
            EventLoop.assumeIsolated { sleeper.signal() }
        } else {
            EventLoop.spawn { sleeper.signal() }
        }
    }

    /// Returns once the wakeup was rung, or at a moment of `monotonicMilliseconds`.
    @EventLoop func wait(until deadline: Int64?) async {
        await sleeper.wait(until: deadline)
    }
}

/// Commits the content of the queue, batch by batch.
@EventLoop final class PostgresEventWriter {
    /// The most rows and bytes of one batch.
    private nonisolated static let batchRows = 1000
    private nonisolated static let batchBytes = 4 * 1024 * 1024
    /// Milliseconds that a batch waits for locks of other sessions. A row that is lost for a lock
    /// of a second would be worse than one that is late; but calls wait for it, and they do not
    /// wait for a lock that lasts.
    private nonisolated static let lockLimit: Int64 = 3000

    private nonisolated let pool: PostgresPool
    private nonisolated let queue: WriteQueue
    private nonisolated let wakeup: LoopWakeup
    private nonisolated let process: String
    private nonisolated let scoreboard: Scoreboard?
    private nonisolated let logger: Logger
    /// Rows that were opened here and not closed yet.
    private var openRows: Set<Event.ID> = []
    /// Rows whose opening got no answer: they may be there.
    private var doubtfulRows: Set<Event.ID> = []
    private var failures = WriteFailures()

    nonisolated init(
        _ pool: PostgresPool, queue: WriteQueue, wakeup: LoopWakeup, process: String,
        scoreboard: Scoreboard? = nil, logger: Logger
    ) {
        self.scoreboard = scoreboard
        self.pool = pool
        self.queue = queue
        self.wakeup = wakeup
        self.process = process
        self.logger = logger
    }

    /// Writes until the queue is closed and empty.
    func serve() async {
        while true {
            switch queue.step() {
            case .wait(let deadline): await wakeup.wait(until: deadline)
            case .work: await writeBatch(queue.take(rows: Self.batchRows, bytes: Self.batchBytes))
            case .end:
                for closer in queue.end() { closer.resume() }
                return
            }
        }
    }

    private func writeBatch(_ items: [WriteItem]) async {
        if items.isEmpty { return }
        do {
            let startedAt = monotonicMicroseconds()
            let written = try await write(batch(of: items))
            scoreboard?.noteCommit(rows: items.count, since: startedAt)
            failures.end()
            resumeWaiters(items, written)
        } catch let error as DatabaseError where error.concernsOneRow && items.count > 1 {
            for item in items { await writeBatch([item]) }
        } catch {
            failures.report(error, rows: items.count, to: logger)
            resumeWaiters(items, error)
        }
    }

    private func batch(of items: [WriteItem]) -> PostgresEvents {
        var batch = PostgresEvents(process: process)
        for item in items {
            switch item {
            case .open(let row): batch.add(row.event)
            case .whole(let row):
                if openRows.contains(row.event.id) {
                    batch.close(row.event)
                } else if doubtfulRows.contains(row.event.id) {
                    batch.addOrClose(row.event)
                } else {
                    batch.add(row.event)
                }
            case .transaction: break
            }
        }
        return batch
    }

    /// Writes a batch and returns the ids of its rows; once more, when the connection is lost: an
    /// id is added once at most, so it does no harm if the first time was enough.
    private func write(_ batch: PostgresEvents) async throws -> Set<String> {
        let statement = batch.statement
        var retries = PostgresRetries(within: pool.grace)
        var isRepeated = false
        let limit = failures.count == 0 ? min(Self.lockLimit, pool.statementLimit) : 0
        let end = monotonicMilliseconds() &+ limit
        while true {
            do {
                var written = try await ids(statement)
                if !batch.doubtful.isSubset(of: written) {
                    // The statement waited for their opening's commit, and did not see it yet.
                    written.formUnion(try await ids(statement))
                }
                if !isRepeated || written.count == batch.count { return written }
                return written.union(try await ids(batch.question))
            } catch let error as DatabaseError
                where error.kind == .locked && monotonicMilliseconds() < end
            {
                continue
            } catch let error as DatabaseError
                where error.kind == .connection || error.kind == .conflict
            {
                guard retries.allow(error) else { throw error }
                isRepeated = true
            }
        }
    }

    private func ids(_ statement: PostgresStatement) async throws -> Set<String> {
        let answer = try await pool.run(statement, isUrgent: true)
        return Set(try answer.rows.map { try $0.text("id") })
    }

    private func resumeWaiters(_ items: [WriteItem], _ written: Set<String>) {
        for item in items {
            switch item {
            case .open(let row):
                let isWritten = written.contains(row.event.id.text)
                if isWritten { openRows.insert(row.event.id) }
                let failure = isWritten ? nil : Self.knownID
                finish(row, failure)
                settle(row, failure)
            case .whole(let row):
                let isOpen =
                    openRows.remove(row.event.id) != nil
                    || doubtfulRows.remove(row.event.id) != nil
                let isWritten = written.contains(row.event.id.text)
                finish(row, isWritten ? nil : isOpen ? Self.foreignRow : Self.knownID)
            case .transaction: break
            }
        }
    }

    private func resumeWaiters(_ items: [WriteItem], _ failure: any Error) {
        for item in items {
            switch item {
            case .open(let row):
                if (failure as? DatabaseError)?.kind == .connection {
                    doubtfulRows.insert(row.event.id)
                }
                finish(row, failure)
                settle(row, failure)
            case .whole(let row): finish(row, failure)
            case .transaction: break
            }
        }
    }

    private func finish(_ row: EventRow, _ failure: (any Error)?) {
        row.finish(failure)
    }

    private func settle(_ row: EventRow, _ failure: (any Error)?) {
        for waiter in queue.settle([row.event.id], failure) { waiter.finish(failure) }
    }

    private nonisolated static let knownID = DatabaseError(
        .uniqueViolation, "there is an event of this id", during: "add event")
    private nonisolated static let foreignRow = DatabaseError(
        .other, "the row was closed by another process", during: "close event")
}

extension DatabaseError {
    /// Whether a statement may have failed for the content of one of its rows.
    fileprivate var concernsOneRow: Bool {
        switch kind {
        case .uniqueViolation, .constraint, .other: true
        default: false
        }
    }
}
