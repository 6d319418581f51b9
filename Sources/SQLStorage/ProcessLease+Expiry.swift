internal import EventLoop
internal import ProxyGPT

extension ProcessLease {
    /// How long a table is cleaned up at a time, in milliseconds.
    private nonisolated static let time: Int64 = 1000

    /// Deletes old bodies, expired sessions, revocations that all have read, and what was deleted, in
    /// small transactions, for a second at most each. Returns whether all is gone.
    @discardableResult
    package func expire() async throws -> Bool {
        let now = clock.now()
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
        let areDeletionsDone = try await sweepDeletions()
        return areBodiesDone && areSessionsDone && areRevocationsDone && areDeletionsDone
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
            // A look first, and last: what others are at is not gone yet.
            let isClean = try await database.query(
                "SELECT \(unsafe: key) FROM \(unsafe: table) WHERE \(condition) LIMIT 1"
            ).isEmpty
            if isClean { return true }
            let count = try await database.transaction { transaction in
                var budget = SweepBudget(rows: rows)
                return try await transaction.sweep(
                    table, key: key, by: order, where: condition, &budget)
            }
            if count == 0 { return false }
        }
        return false
    }
}
