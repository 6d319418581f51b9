internal import Metrics

/// A database that measures how long its callers wait for it: for the metrics, and for the request
/// that waits.
struct MeasuredDatabase: Database {
    let database: any Database
    let scoreboard: Scoreboard

    var dialect: Dialect { database.dialect }

    func query(_ sql: SQL) async throws -> [Row] {
        let startedAt = monotonicMicroseconds()
        defer { note(.read, since: startedAt) }
        return try await database.query(sql)
    }

    func transaction<T: Sendable>(
        _ body: @Sendable @escaping (any Transaction) async throws -> T
    ) async throws -> T {
        let startedAt = monotonicMicroseconds()
        defer { note(.transaction, since: startedAt) }
        return try await database.transaction(body)
    }

    private func note(_ operation: MetricRegistry.Operation, since startedAt: Int64) {
        let time = monotonicMicroseconds() - startedAt
        scoreboard.observe(scoreboard.registry.databaseWait, operation.rawValue, time)
        Stages.current?.add(time, to: .db)
    }
}

extension Scoreboard {
    /// Counts a batch of rows that was committed.
    func noteCommit(rows: Int, since startedAt: Int64) {
        observe(registry.commitRows, 0, Int64(rows))
        observe(registry.commitTime, 0, monotonicMicroseconds() - startedAt)
    }
}
