// The one thread that writes.
//
// Owns the writing connection, and with it every transaction of the process. Commits in groups:
// while one COMMIT waits for the disk, the next group gathers in the queue. Checkpoints by itself
// when the WAL has grown, or has grown a little and nobody writes. Everybody else reaches it
// through the queue. Knows no table but those of events.

internal import EventLoop
internal import Glibc
internal import Logging
internal import Metrics
internal import ProxyGPT

/// Commits what the queue holds, group by group.
final class Writer {
    /// How much one group takes.
    static let groupRows = 1000
    static let groupBytes = 4 * 1024 * 1024
    /// Pages of 4 KiB in the WAL from which a checkpoint follows the group: 31 MiB. Measured from 500
    /// to 8000: fewer make the longest wait shorter, but let more than one in a hundred wait.
    static let checkpointPages: Int32 = 8000
    /// The same of a process that writes much and must hold up nobody.
    static let checkpointPagesInBackground: Int32 = 500
    /// The same while no process has written for `idleTime`: 512 KiB. A few writes a second, by whomever,
    /// go round in a WAL of that size instead of taking 31 MiB of the disk.
    static let idleCheckpointPages: Int32 = 128
    static let idleTime: Int64 = 25

    /// Microseconds to wait after a group that many waited for, until those that it woke are
    /// back: measured with 16 and 64 tasks, a fifth less of CPU for each row and no wait longer.
    static let gathering: UInt32 = 50

    /// What the writer tells tests about itself, on its own thread and inside the gate.
    enum Step {
        case entered, committing, committed, checkpointing, checkpointed, leaving
    }

    private let connection: SQLiteConnection
    private let gate: WriteGate
    private let queue: WriteQueue
    private let bell: Doorbell
    private let executor: WriterExecutor
    private let events: EventStatements
    private let checkpointPages: Int32
    private let idleCheckpointPages: Int32
    private let scoreboard: Scoreboard?
    private let logger: Logger
    private let observe: (@Sendable (Step) -> Void)?
    /// Rows of events that were opened here and not closed yet.
    private var openRows: Set<Event.ID> = []
    private var failedGroups = 0
    private var lastRows = 0
    /// Whether the group removes much, as those behind it will.
    private var groupYields = false
    /// Whether a group has left the WAL so large that it is checkpointed in the next pause.
    private var awaitsPause = false
    /// What the database's version has been since that moment, as far as this process has looked.
    private var pause: (version: Int64, since: Int64)?

    init(
        _ connection: SQLiteConnection, gate: WriteGate, queue: WriteQueue, bell: Doorbell,
        process: String,
        checkpointPages: Int32, idleCheckpointPages: Int32 = Writer.idleCheckpointPages,
        scoreboard: Scoreboard? = nil, logger: Logger, observe: (@Sendable (Step) -> Void)?
    ) throws(DatabaseError) {
        self.idleCheckpointPages = idleCheckpointPages
        self.scoreboard = scoreboard
        self.connection = connection
        self.gate = gate
        self.queue = queue
        self.bell = bell
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
            // The connection is closed before anybody learns that the storage is.
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
                bell.wait(until: deadline)
            case .end: return
            case .work:
                executor.runJobs()
                if lastRows >= 8 { usleep(Self.gathering) }
                writeGroup()
            }
        }
    }

    // MARK: - One group

    /// What became of a group, told to everybody at once after the commit.
    private struct Outcome {
        var told: [(waiter: any Waiter, failure: (any Error)?)] = []
        var opened: [Event.ID] = []
        /// Opening rows that failed alone.
        var refused: [(id: Event.ID, failure: any Error)] = []
        var closed: [Event.ID] = []
    }

    private func writeGroup() {
        var outcome = Outcome()
        groupYields = false
        do {
            try gate.enter()
        } catch {
            fail(queue.take(rows: Self.groupRows, bytes: Self.groupBytes), error, &outcome)
            report(error, rows: outcome.told.count)
            tell(outcome, failure: error)
            return
        }
        observe?(.entered)
        defer {
            observe?(.leaving)
            gate.leave()
        }
        // Taken only now: what came while others were committing belongs to this group.
        var items: ArraySlice<WriteItem> = []
        do {
            let startedAt = monotonicMicroseconds()
            try connection.run("BEGIN IMMEDIATE")
            items = queue.take(rows: Self.groupRows, bytes: Self.groupBytes)[...]
            while let item = items.first {
                let failure = try write(item, &outcome)
                outcome.told.append((item.waiter, failure))
                items = items.dropFirst()
            }
            observe?(.committing)
            try connection.run("COMMIT")
            observe?(.committed)
            scoreboard?.noteCommit(rows: outcome.told.count, since: startedAt)
            failedGroups = 0
            lastRows = outcome.told.count
            tell(outcome, failure: nil)
            let limit =
                groupYields
                ? min(checkpointPages, Self.checkpointPagesInBackground) : checkpointPages
            if connection.walPages >= limit { checkpoint() }
            awaitsPause = connection.walPages >= idleCheckpointPages
            pause = nil
        } catch {
            connection.rollBack()
            if items.isEmpty && outcome.told.isEmpty {
                items = queue.take(rows: Self.groupRows, bytes: Self.groupBytes)[...]
            }
            fail(items, error, &outcome)
            report(error, rows: outcome.told.count)
            tell(outcome, failure: error)
        }
    }

    /// Writes one item. Returns the failure that is its own; throws one that ends the group.
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
        if transaction.yields { groupYields = true }
        switch job.outcome {
        case .success:
            guard connection.isInTransaction else {
                throw DatabaseError(.other, "the group was rolled back", during: "transaction")
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
            throw DatabaseError(.other, "the group was rolled back", during: "transaction")
        }
        try connection.run("ROLLBACK TO one")
        try connection.run("RELEASE one")
    }

    private func fail(
        _ items: some Sequence<WriteItem>, _ error: any Error, _ outcome: inout Outcome
    ) {
        for item in items {
            if case .open(let row) = item { outcome.opened.append(row.event.id) }
            outcome.told.append((item.waiter, error))
        }
    }

    /// Wakes everybody that waits for the group, by one job on the loop.
    private func tell(_ outcome: Outcome, failure: (any Error)?) {
        if failure == nil {
            for id in outcome.closed { openRows.remove(id) }
        } else {
            for id in outcome.opened { openRows.remove(id) }
        }
        var told = outcome.told
        for waiter in queue.settle(outcome.opened, failure) { told.append((waiter, failure)) }
        for (id, itsOwn) in outcome.refused {
            for waiter in queue.settle([id], itsOwn) { told.append((waiter, itsOwn)) }
        }
        EventLoop.spawn { [told] in
            for (waiter, itsOwn) in told { waiter.finish(itsOwn ?? failure) }
        }
    }

    /// Logs the first failure and then every thousandth: a full disk fails each group.
    private func report(_ error: any Error, rows: Int) {
        if failedGroups % 1000 == 0 {
            logger.error(
                "write group failed",
                metadata: [
                    "storage.error": "\(error)", "storage.rows": "\(rows)",
                    "storage.failed_groups": "\(failedGroups + 1)",
                ])
        }
        failedGroups += 1
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

    /// Called while there is nothing to write, every now and then for a second after the last group.
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
    /// Whether a statement's failure is that of the disk, and so of everybody in the group.
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
