// Commits events in groups, as Writer does for SQLite: while one group is under way the next gathers
// in the queue. Runs on the loop. Knows no table itself; see PostgresEvents.

internal import EventLoop
internal import Logging
internal import Metrics
internal import ProxyGPT

/// Wakes a task of the loop that waits.
final class LoopBell: Bell {
    @EventLoop private final class Sleeper {
        private var isRung = false
        private var continuation: UnsafeContinuation<Void, Never>?

        nonisolated init() {}

        func ring() {
            isRung = true
            let waiting = continuation
            continuation = nil
            waiting?.resume()
        }

        func wait(until deadline: Int64?) async {
            if !isRung {
                let timer = deadline.map { deadline in
                    EventLoop.schedule(
                        afterMilliseconds: deadline &- monotonicMilliseconds()
                    ) { self.ring() }
                }
                await withUnsafeContinuation { waiting in
                    if isRung { waiting.resume() } else { continuation = waiting }
                }
                timer?.cancel()
            }
            isRung = false
        }
    }

    private let sleeper = Sleeper()

    func ring() {
        let sleeper = sleeper
        if EventLoop.shared.executor.isCurrent {
            EventLoop.assumeIsolated { sleeper.ring() }
        } else {
            EventLoop.spawn { sleeper.ring() }
        }
    }

    /// Returns once the bell was rung, or at a moment of `monotonicMilliseconds`.
    @EventLoop func wait(until deadline: Int64?) async {
        await sleeper.wait(until: deadline)
    }
}

/// Commits what the queue holds, group by group.
@EventLoop final class PostgresEventWriter {
    /// How much one group takes.
    private nonisolated static let groupRows = 1000
    private nonisolated static let groupBytes = 4 * 1024 * 1024
    /// Milliseconds that a group waits for locks of others. A row that is lost for a lock of a second would be
    /// worse than one that is late; calls wait for it, however, and those behind a lock that lasts do not.
    private nonisolated static let lockLimit: Int64 = 3000

    private nonisolated let pool: PostgresPool
    private nonisolated let queue: WriteQueue
    private nonisolated let bell: LoopBell
    private nonisolated let process: String
    private nonisolated let scoreboard: Scoreboard?
    private nonisolated let logger: Logger
    /// Rows that were opened here and not closed yet.
    private var openRows: Set<Event.ID> = []
    /// Rows whose opening got no answer: they may be there.
    private var doubtfulRows: Set<Event.ID> = []
    private var failedGroups = 0

    nonisolated init(
        _ pool: PostgresPool, queue: WriteQueue, bell: LoopBell, process: String,
        scoreboard: Scoreboard? = nil, logger: Logger
    ) {
        self.scoreboard = scoreboard
        self.pool = pool
        self.queue = queue
        self.bell = bell
        self.process = process
        self.logger = logger
    }

    /// Writes until the queue is closed and empty.
    func serve() async {
        while true {
            switch queue.step() {
            case .wait(let deadline): await bell.wait(until: deadline)
            case .work: await writeGroup(queue.take(rows: Self.groupRows, bytes: Self.groupBytes))
            case .end:
                for closer in queue.end() { closer.resume() }
                return
            }
        }
    }

    private func writeGroup(_ items: [WriteItem]) async {
        if items.isEmpty { return }
        do {
            let startedAt = monotonicMicroseconds()
            let written = try await write(group(of: items))
            scoreboard?.noteCommit(rows: items.count, since: startedAt)
            failedGroups = 0
            tell(items, written)
        } catch let error as DatabaseError where error.concernsOneRow && items.count > 1 {
            for item in items { await writeGroup([item]) }
        } catch {
            report(error, rows: items.count)
            tell(items, error)
        }
    }

    private func group(of items: [WriteItem]) -> PostgresEvents {
        var group = PostgresEvents(process: process)
        for item in items {
            switch item {
            case .open(let row): group.add(row.event)
            case .whole(let row):
                if openRows.contains(row.event.id) {
                    group.close(row.event)
                } else if doubtfulRows.contains(row.event.id) {
                    group.addOrClose(row.event)
                } else {
                    group.add(row.event)
                }
            case .transaction: break
            }
        }
        return group
    }

    /// Writes a group and returns the ids of its rows; once more, when the connection is lost: an id is
    /// added once at most, so it does no harm if the first time was enough.
    private func write(_ group: PostgresEvents) async throws -> Set<String> {
        let statement = group.statement
        var retries = PostgresRetries(within: pool.grace)
        var isRepeated = false
        let limit = failedGroups == 0 ? min(Self.lockLimit, pool.statementLimit) : 0
        let end = monotonicMilliseconds() &+ limit
        while true {
            do {
                var written = try await ids(statement)
                if !group.doubtful.isSubset(of: written) {
                    // The statement waited for their opening's commit, and did not see it yet.
                    written.formUnion(try await ids(statement))
                }
                if !isRepeated || written.count == group.count { return written }
                return written.union(try await ids(group.question))
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

    private func tell(_ items: [WriteItem], _ written: Set<String>) {
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

    private func tell(_ items: [WriteItem], _ failure: any Error) {
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

    /// Logs the first failure and then every thousandth.
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
}

extension DatabaseError {
    /// Whether a statement failed for what stands in one of its rows.
    fileprivate var concernsOneRow: Bool {
        switch kind {
        case .uniqueViolation, .constraint, .other: true
        default: false
        }
    }
}
