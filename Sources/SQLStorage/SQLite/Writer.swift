// The one thread that writes.
//
// Owns the writing connection, and with it every transaction of the process. Commits in batches:
// while one COMMIT waits for the disk, the next batch gathers in the queue. Checkpoints by itself
// when the WAL has grown, or has grown a little and nothing is written. All other threads reach it
// through the queue. Knows no table but those of events.

internal import EventLoop
internal import Glibc
internal import Logging
internal import Metrics
internal import ProxyGPT

/// Commits the content of the queue, batch by batch.
final class Writer {
    /// The most rows of one batch.
    static let batchRows = 1000
    static let batchBytes = 4 * 1024 * 1024
    /// Pages of 4 KiB in the WAL from which a checkpoint follows the batch: 31 MiB. Measured from
    /// 500 to 8000: fewer make the longest wait shorter, but let more than one in a hundred wait.
    static let checkpointPages: Int32 = 8000
    /// The same for a process that writes much in the background and must not delay the others.
    static let checkpointPagesInBackground: Int32 = 500
    /// The same while no process has written for `idleTime`: 512 KiB. A few writes a second, by whomever,
    /// go round in a WAL of that size instead of taking 31 MiB of the disk.
    static let idleCheckpointPages: Int32 = 128
    static let idleTime: Int64 = 25

    /// Microseconds to wait after a batch that many tasks waited for, until those tasks are back:
    /// measured with 16 and 64 tasks, a fifth less of CPU for each row and no wait longer.
    static let gathering: UInt32 = 50

    /// Reports of the writer to tests, on its own thread and inside the gate.
    enum Step {
        case entered, committing, committed, checkpointing, checkpointed, leaving
    }

    private let connection: SQLiteConnection
    private let gate: WriteGate
    private let queue: WriteQueue
    private let wakeup: ThreadWakeup
    private let executor: WriterExecutor
    private let events: EventStatements
    private let checkpointPages: Int32
    private let idleCheckpointPages: Int32
    private let scoreboard: Scoreboard?
    private let logger: Logger
    private let observe: (@Sendable (Step) -> Void)?
    /// Rows of events that were opened here and not closed yet.
    private var openRows: Set<Event.ID> = []
    private var failures = WriteFailures()
    private var lastRows = 0
    /// Whether the batch removes much, as the batches behind it will.
    private var batchYields = false
    /// Whether a batch has left the WAL so large that it is checkpointed in the next pause.
    private var awaitsPause = false
    /// The database's version since that moment, as far as this process has seen.
    private var pause: (version: Int64, since: Int64)?

    init(
        _ connection: SQLiteConnection, gate: WriteGate, queue: WriteQueue, wakeup: ThreadWakeup,
        process: String,
        checkpointPages: Int32, idleCheckpointPages: Int32 = Writer.idleCheckpointPages,
        scoreboard: Scoreboard? = nil, logger: Logger, observe: (@Sendable (Step) -> Void)?
    ) throws(DatabaseError) {
        self.idleCheckpointPages = idleCheckpointPages
        self.scoreboard = scoreboard
        self.connection = connection
        self.gate = gate
        self.queue = queue
        self.wakeup = wakeup
        self.checkpointPages = checkpointPages
        self.logger = logger
        self.observe = observe
        executor = WriterExecutor(queue: queue)
        events = try EventStatements(connection, process: process)
    }

    /// Hands the writer to a thread of its own, where it stays until the queue is closed.
    static func start(_ writer: consuming sending Writer) {
        nonisolated(unsafe) var handedOver: Writer? = writer
        startThread(name: "sqlite-writer") {
            handedOver?.serve()
            let queue = handedOver?.queue
            // The connection is closed before the queue reports the end.
            handedOver = nil
            for closer in queue?.end() ?? [] { closer.resume() }
        }
    }

    private func serve() {
        executor.adoptCurrentThread()
        while true {
            switch queue.step() {
            case .wait(let deadline):
                checkpointInPause()
                wakeup.wait(until: deadline)
            case .end: return
            case .work:
                executor.runJobs()
                if lastRows >= 8 { usleep(Self.gathering) }
                writeBatch()
            }
        }
    }

    // MARK: - One batch

    /// The results of a batch, reported to all callers at once after the commit.
    private struct Outcome {
        var results: [(waiter: any Waiter, failure: (any Error)?)] = []
        var opened: [Event.ID] = []
        /// Opening rows that failed alone.
        var refused: [(id: Event.ID, failure: any Error)] = []
        var closed: [Event.ID] = []
    }

    private func writeBatch() {
        var outcome = Outcome()
        batchYields = false
        do {
            try gate.enter()
        } catch {
            fail(queue.take(rows: Self.batchRows, bytes: Self.batchBytes), error, &outcome)
            failures.report(error, rows: outcome.results.count, to: logger)
            resumeWaiters(outcome, failure: error)
            return
        }
        observe?(.entered)
        defer {
            observe?(.leaving)
            gate.leave()
        }
        // Taken only now: writes that came while other processes were committing belong to this
        // batch.
        var items: ArraySlice<WriteItem> = []
        do {
            let startedAt = monotonicMicroseconds()
            try connection.run("BEGIN IMMEDIATE")
            items = queue.take(rows: Self.batchRows, bytes: Self.batchBytes)[...]
            while let item = items.first {
                let failure = try write(item, &outcome)
                outcome.results.append((item.waiter, failure))
                items = items.dropFirst()
            }
            observe?(.committing)
            try connection.run("COMMIT")
            observe?(.committed)
            scoreboard?.noteCommit(rows: outcome.results.count, since: startedAt)
            failures.end()
            lastRows = outcome.results.count
            resumeWaiters(outcome, failure: nil)
            let limit =
                batchYields
                ? min(checkpointPages, Self.checkpointPagesInBackground) : checkpointPages
            if connection.walPages >= limit { checkpoint() }
            awaitsPause = connection.walPages >= idleCheckpointPages
            pause = nil
        } catch {
            connection.rollBack()
            if items.isEmpty && outcome.results.isEmpty {
                items = queue.take(rows: Self.batchRows, bytes: Self.batchBytes)[...]
            }
            fail(items, error, &outcome)
            failures.report(error, rows: outcome.results.count, to: logger)
            resumeWaiters(outcome, failure: error)
        }
    }

    /// Writes one item. Returns a failure of that item alone; throws one that ends the batch.
    private func write(_ item: WriteItem, _ outcome: inout Outcome) throws -> (any Error)? {
        do {
            switch item {
            case .transaction(let job):
                return try run(job)
            case .open(let row):
                try events.insert(row.event)
                outcome.opened.append(row.event.id)
                openRows.insert(row.event.id)
            case .whole(let row):
                guard openRows.contains(row.event.id) else {
                    try events.insert(row.event)
                    return nil
                }
                outcome.closed.append(row.event.id)
                try events.close(row.event)
            }
            return nil
        } catch let error as DatabaseError {
            guard connection.isInTransaction, !error.endsGroup else { throw error }
            if case .open(let row) = item { outcome.refused.append((row.event.id, error)) }
            return error
        }
    }

    /// Runs a transaction's body inside a savepoint, so that it can fail alone.
    private func run(_ job: any TransactionJob) throws -> (any Error)? {
        try connection.run("SAVEPOINT one")
        let transaction = SQLiteTransaction(connection)
        job.start(transaction, on: executor)
        executor.runJobs()
        transaction.end()
        if transaction.yields { batchYields = true }
        switch job.outcome {
        case .success:
            guard connection.isInTransaction else {
                throw DatabaseError(.other, "the batch was rolled back", during: "transaction")
            }
            try connection.run("RELEASE one")
            return nil
        case .failure(let error):
            if let error = error as? DatabaseError, error.endsGroup { throw error }
            try undo()
            return error
        case nil:
            try undo()
            logger.error("transaction awaited something else")
            return DatabaseError.suspended
        }
    }

    private func undo() throws {
        guard connection.isInTransaction else {
            throw DatabaseError(.other, "the batch was rolled back", during: "transaction")
        }
        try connection.run("ROLLBACK TO one")
        try connection.run("RELEASE one")
    }

    private func fail(
        _ items: some Sequence<WriteItem>, _ error: any Error, _ outcome: inout Outcome
    ) {
        for item in items {
            if case .open(let row) = item { outcome.opened.append(row.event.id) }
            outcome.results.append((item.waiter, error))
        }
    }

    /// Resumes all callers that wait for the batch, by one job on the loop.
    private func resumeWaiters(_ outcome: Outcome, failure: (any Error)?) {
        if failure == nil {
            for id in outcome.closed { openRows.remove(id) }
        } else {
            for id in outcome.opened { openRows.remove(id) }
        }
        var results = outcome.results
        for waiter in queue.settle(outcome.opened, failure) { results.append((waiter, failure)) }
        for (id, itsOwn) in outcome.refused {
            for waiter in queue.settle([id], itsOwn) { results.append((waiter, itsOwn)) }
        }
        EventLoop.spawn { [results] in
            for (waiter, itsOwn) in results { waiter.finish(itsOwn ?? failure) }
        }
    }

    // MARK: - Checkpoints

    /// Called inside the gate, after the commit: neither this process nor another one commits.
    private func checkpoint(empties: Bool = false) {
        guard gate.beginCheckpoint() else { return }
        defer { gate.endCheckpoint() }
        observe?(.checkpointing)
        defer { observe?(.checkpointed) }
        do {
            if empties {
                try connection.emptyWAL()
            } else {
                try connection.checkpoint()
            }
        } catch {
            logger.warning("checkpoint failed", metadata: ["storage.error": "\(error)"])
        }
    }

    /// Called while there is nothing to write, repeatedly for a second after the last batch.
    private func checkpointInPause() {
        guard awaitsPause, let version = try? connection.dataVersion() else { return }
        let now = monotonicMilliseconds()
        guard let pause, pause.version == version else {
            pause = (version, now)
            return
        }
        guard now &- pause.since >= Self.idleTime else { return }
        awaitsPause = false
        do {
            try gate.enter()
        } catch {
            logger.warning("checkpoint failed", metadata: ["storage.error": "\(error)"])
            return
        }
        observe?(.entered)
        // A file that stays is written faster than one that grows.
        checkpoint(empties: connection.mostWALPages > idleCheckpointPages + idleCheckpointPages / 4)
        observe?(.leaving)
        gate.leave()
    }
}

@available(*, unavailable) extension Writer: Sendable {}

extension WriteItem {
    fileprivate var waiter: any Waiter {
        switch self {
        case .transaction(let job): job
        case .open(let row), .whole(let row): row
        }
    }
}

extension DatabaseError {
    /// Whether a statement's failure is a failure of the disk, and so of the whole batch.
    fileprivate var endsGroup: Bool {
        switch kind {
        case .full, .inputOutput, .damaged, .busy: true
        case .connection, .uncertain: true
        case .uniqueViolation, .constraint, .conflict, .suspended, .interrupted, .locked, .closed,
            .other:
            false
        }
    }
}
