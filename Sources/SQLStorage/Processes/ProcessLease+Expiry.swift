internal import EventLoop
internal import Logging
package import ProxyGPT

extension ProcessLease {
    /// How long a table is cleaned up at a time, in milliseconds.
    private nonisolated static let time: Int64 = 1000

    /// Deletes old bodies, expired sessions, revocations that all processes have read, and deleted
    /// rows, and folds usage, in small transactions, for a second at most each. Returns whether
    /// everything is done.
    @discardableResult
    package func expire() async throws -> Bool {
        try await completeChatUsers()
        let areDeletionsDone = try await sweepDeletions()
        let now = try await database.currentTime(clock.now())
        guard try await mayDelete(at: now) else { return areDeletionsDone }
        let oldest = UUIDText.version7(
            milliseconds: now.adding(seconds: -eventDays * 86_400).milliseconds,
            counter: 0, random: 0)
        let areBodiesDone = try await expire(
            "event_bodies", key: "id", by: "id", where: "id < \(oldest)", rows: 64)
        let areSessionsDone = try await expire(
            "sessions", key: "id", by: "expires_at", where: "expires_at <= \(now)")
        let read = now.adding(seconds: -3600)
        let areRevocationsDone = try await expire(
            "revocations", key: "seq", by: "seq", where: "created_at < \(read)")
        let isUsageDone = try await foldUsage(at: now)
        return areBodiesDone && areSessionsDone && areRevocationsDone && areDeletionsDone
            && isUsageDone
    }

    private func foldUsage(at now: Timestamp) async throws -> Bool {
        let end = monotonicMilliseconds() &+ Self.time
        while !Task.isCancelled, monotonicMilliseconds() < end {
            switch try await database.foldUsage(at: now) {
            case .done: return true
            case .progress: await EventLoop.sleep(milliseconds: 5)
            case .overtaken: return false
            }
        }
        return false
    }

    /// Fills in the columns of chat users that processes of the previous release leave empty.
    private func completeChatUsers() async throws {
        let incomplete: SQL = "SELECT chat_id FROM chat_users WHERE seq = 0 LIMIT 1"
        guard try await !database.query(incomplete).isEmpty else { return }
        _ = try await database.transaction { transaction in
            try await transaction.execute(SQL(unsafe: Migrations.completeChatUsers))
        }
    }

    /// Whether old rows may be deleted: not in the first hour after a jump of the host's clock,
    /// where that is the only clock. On the first call a jump shows in the rows: the newest row
    /// from before this hour is more than a day older.
    package func mayDelete(at now: Timestamp) async throws -> Bool {
        guard !database.dialect.hasServer else { return true }
        if let holdsUntil { return clock.monotonicMicroseconds() >= holdsUntil }
        let hourAgo = now.adding(seconds: -3600)
        let id = UUIDText.version7(
            milliseconds: hourAgo.milliseconds, counter: 0, random: 0)
        let newest = try await database.query(
            "SELECT timestamp FROM events WHERE id < \(id) ORDER BY id DESC LIMIT 1"
        ).first?.timestamp("timestamp")
        holdsUntil = 0
        guard let newest else { return true }
        let gap = hourAgo.milliseconds &- newest.milliseconds
        if gap > Timestamp.dayLength { hold(gap) }
        return gap <= Timestamp.dayLength
    }

    /// The same beside the renewals, which go on when it fails.
    func cleanUp() async {
        do {
            try await expire()
        } catch {
            logger.warning("clean-up failed", metadata: ["storage.error": "\(error)"])
        }
    }

    private func sweepDeletions() async throws -> Bool {
        let end = monotonicMilliseconds() &+ Self.time
        // A stop does not wait for the backlog.
        while !Task.isCancelled, monotonicMilliseconds() < end {
            switch try await database.sweepDeletions() {
            case .nothing: return true
            case .progress: continue
            case .blocked: return false
            }
        }
        return false
    }

    /// Whether nothing is left.
    /// - Parameter rows: how many go with one transaction.
    private func expire(
        _ table: String, key: String, by order: String, where condition: SQL, rows: Int = 500
    ) async throws -> Bool {
        let end = monotonicMilliseconds() &+ Self.time
        while !Task.isCancelled, monotonicMilliseconds() < end {
            // A read first, and last: rows that another process is deleting are not gone yet. Only
            // the oldest row, or the query would read all rows to find none.
            let isClean = try await database.query(
                """
                SELECT \(unsafe: key)
                FROM (SELECT * FROM \(unsafe: table) ORDER BY \(unsafe: order) LIMIT 1) AS oldest
                WHERE \(condition)
                """
            ).isEmpty
            if isClean { return true }
            let startedAt = monotonicMilliseconds()
            let count = try await database.transaction { transaction in
                var budget = SweepBudget(rows: rows)
                return try await transaction.sweep(
                    table, key: key, by: order, where: condition, &budget)
            }
            if count == 0 { return false }
            await database.giveWay(since: startedAt)
        }
        return false
    }
}
