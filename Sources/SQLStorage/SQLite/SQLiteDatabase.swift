internal import EventLoop

/// The SQLite file as a database: reads on the loop, transactions on the writer's thread.
final class SQLiteDatabase: Database {
    let reader: SQLiteReader
    let dialect = Dialect.sqlite
    private let queue: WriteQueue

    init(reader: SQLiteReader, queue: WriteQueue) {
        self.reader = reader
        self.queue = queue
    }

    func query(_ sql: SQL) async throws -> [Row] {
        try await reader.query(sql)
    }

    func transaction<T: Sendable>(
        _ body: @Sendable @escaping (any Transaction) async throws -> T
    ) async throws -> T {
        try await withUnsafeThrowingContinuation { continuation in
            do {
                try queue.add(Job(body, continuation: continuation))
            } catch {
                continuation.resume(throwing: error)
            }
        }
    }

    /// Ends once everything queued is committed and both connections are closed.
    func close() async {
        await withUnsafeContinuation { continuation in queue.close(continuation) }
        await reader.close()
    }
}

/// The reading connection. Its reads take some microseconds and stay on the loop.
///
/// All reads of one turn of the loop share a snapshot, which saves most of the locking. A task that
/// awaited a write sees it: the job that reports a commit comes from the writer's thread, and such
/// jobs begin a turn, while the snapshot of the turn before has ended.
@EventLoop final class SQLiteReader {
    // Unsafe in `init` alone, before the object is shared; the methods are isolated to the loop.
    private nonisolated(unsafe) var connection: SQLiteConnection?
    private var hasSnapshot = false

    nonisolated init(_ connection: sending SQLiteConnection) {
        self.connection = connection
    }

    func query(_ sql: SQL) throws -> [Row] {
        guard let connection else { throw DatabaseError.closed }
        if !hasSnapshot {
            try connection.run("BEGIN")
            hasSnapshot = true
            EventLoop.atEndOfTurn { self.endSnapshot() }
        }
        return try connection.query(sql)
    }

    /// The cost of the reads since the last call.
    func takeCost() -> (steps: Int, scanned: Int) { connection?.takeCost() ?? (0, 0) }

    /// Ends the snapshot; the next read sees everything that is committed by then.
    func endSnapshot() {
        guard hasSnapshot, let connection else { return }
        hasSnapshot = false
        guard connection.isInTransaction else { return }
        do {
            try connection.run("COMMIT")
        } catch {
            // A read-only transaction that cannot end holds the WAL: start over.
            connection.rollBack()
        }
    }

    func close() {
        endSnapshot()
        connection = nil
    }
}
