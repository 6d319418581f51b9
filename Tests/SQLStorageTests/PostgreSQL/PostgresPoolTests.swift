internal import EventLoop
internal import Logging
internal import ProxyGPT
internal import Synchronization
internal import TestSupport
internal import Testing

@testable internal import SQLStorage

/// The pool's answers to waiting tasks, and its log lines, while connections come and go.
@Suite struct PostgresPoolTests {
    private static let hang = PostgresStatement("SELECT pg_sleep(60)")

    /// A pool of one connection; a second one never gets ready.
    private func pool(
        _ place: Place, waitLimit: Int64 = 2000, logger: Logger = silent
    ) async throws -> PostgresPool {
        var configuration = try place.configuration(size: 1)
        configuration.waitLimit = waitLimit
        configuration.grace = 200
        let count = Atomic(0)
        let pool = PostgresPool(configuration, identifiers: ids, logger: logger) { connection in
            if count.add(1, ordering: .sequentiallyConsistent).newValue > 1 {
                _ = try await connection.run([Self.hang], within: 60_000)
            }
        }
        try await pool.start()
        return pool
    }

    /// Ends the connection, and returns once the next one is being made ready.
    private func lose(_ connection: PostgresConnection, in place: Place) async throws {
        let (cluster, name) = try #require(place.database)
        await connection.close()
        try await eventually {
            try await !cluster.run(
                "SELECT pid FROM pg_stat_activity WHERE datname = '\(name)' "
                    + "AND state = 'active' AND query = '\(Self.hang.text)'"
            ).isEmpty
        }
    }

    @Test(arguments: [true, false])
    func
        `a request that waits when the last connection is lost waits for the next one alone, events too`(
            isUrgent: Bool
        ) async throws
    {
        let place = try await Place(empty: .postgreSQL)
        let pool = try await pool(place, waitLimit: 120_000)
        let connection = try await pool.lease()
        let waiter = Task { try await pool.run(PostgresStatement("SELECT 1"), isUrgent: isUrgent) }
        try await eventually { await pool.counts.waiting == 1 }
        try await lose(connection, in: place)
        let start = monotonicMilliseconds()
        let error = await #expect(throws: DatabaseError.self) { try await waiter.value }
        #expect(error?.kind == .connection)
        #expect(monotonicMilliseconds() - start < 15_000)
        // A connection that is not ready is none: a task that comes now need not wait for it.
        let late = await #expect(throws: DatabaseError.self) {
            try await pool.run(PostgresStatement("SELECT 1"))
        }
        #expect(late?.kind == .connection)
        await pool.close()
    }

    @Test func `a pool that is closed while it connects misses no database`() async throws {
        let place = try await Place(empty: .postgreSQL)
        let journal = LogJournal()
        let pool = try await pool(place, logger: journal.logger)
        try await lose(try await pool.lease(), in: place)
        await pool.close()
        // Whatever the end of that connection brings about has happened when the next is refused.
        for _ in 0..<100 { await EventLoop.sleep(milliseconds: 0) }
        #expect(!journal.text.contains("database away"))
    }
}
