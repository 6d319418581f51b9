// Three lock files beside the database that put the commits and checkpoints of all processes in a
// row.
//
// Up to SQLite 3.51.2 a checkpoint that overlaps a commit which resets the WAL can lose committed
// pages (sqlite.org/wal.html, "The WAL-Reset Bug"). SQLite has one writer at a time anyway, so each
// writer passes this gate alone, and checkpoints do the same.
//
// A writer takes `gate`, then waits for `wal`, then releases `gate`: so one process at most waits
// for `wal`, and a process that has just left cannot overtake it. Checkpoints take `checkpoint` as
// well, and are skipped while a backup has it. flock(2) belongs to the open file, so there is one
// gate for each storage. Called by the writer's thread.

internal import EventLoop

/// Lets one process at a time commit or checkpoint.
final class WriteGate {
    private let gate: LockFile
    private let wal: LockFile
    private let checkpoint: LockFile

    /// Opens the lock files of a database, whose path must be the same for all processes.
    init(database file: String) throws(SystemError) {
        gate = try LockFile(file + ".gate.lock")
        wal = try LockFile(file + ".wal.lock")
        checkpoint = try LockFile(Self.checkpointLock(of: file))
    }

    /// Held exclusively by a checkpoint, and shared by a backup, which needs that there is no
    /// checkpoint: then the database file does not change.
    static func checkpointLock(of file: String) -> String { file + ".checkpoint.lock" }

    /// Waits until no other process commits or checkpoints.
    func enter() throws(SystemError) {
        try gate.lock(.exclusive)
        defer { gate.unlock() }
        try wal.lock(.exclusive)
    }

    /// Lets the next one in.
    func leave() {
        wal.unlock()
    }

    /// Whether a checkpoint may be made now; called inside the gate, ended with `endCheckpoint`.
    func beginCheckpoint() -> Bool { checkpoint.tryLock(.exclusive) }

    func endCheckpoint() {
        checkpoint.unlock()
    }
}

@available(*, unavailable) extension WriteGate: Sendable {}
