// Two lock files beside the database that put the commits and checkpoints of all processes in a
// row.
//
// Up to SQLite 3.51.2 a checkpoint that overlaps a commit which resets the WAL can lose committed
// pages (sqlite.org/wal.html, "The WAL-Reset Bug"). SQLite has one writer at a time anyway, so
// each one goes through here alone, and checkpoints do the same.
//
// Whoever comes takes `gate`, then waits for `wal`, then lets `gate` go: so one process at most
// waits for `wal`, and whoever has just left cannot overtake it. Owns both descriptors; flock(2)
// belongs to the open file, so there is one gate for each storage. Called by the writer's thread.

internal import EventLoop
internal import Glibc

/// Lets one process at a time commit or checkpoint.
final class WriteGate {
    private let gate: Int32
    private let wal: Int32

    /// Opens the lock files of a database, whose path must be the same for all processes.
    init(database file: String) throws(SystemError) {
        gate = try Self.open(file + ".gate.lock")
        do {
            wal = try Self.open(file + ".wal.lock")
        } catch {
            close(gate)
            throw error
        }
    }

    deinit {
        close(wal)
        close(gate)
    }

    /// Waits until nobody else commits or checkpoints.
    func enter() throws(SystemError) {
        try lock(gate, LOCK_EX)
        defer { flock(gate, LOCK_UN) }
        try lock(wal, LOCK_EX)
    }

    /// Lets the next one in.
    func leave() {
        flock(wal, LOCK_UN)
    }

    private func lock(_ descriptor: Int32, _ operation: Int32) throws(SystemError) {
        while flock(descriptor, operation) != 0 {
            guard errno == EINTR else { throw SystemError("flock") }
        }
    }

    private static func open(_ path: String) throws(SystemError) -> Int32 {
        let descriptor = Glibc.open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw SystemError("open \(path)") }
        return descriptor
    }
}

@available(*, unavailable) extension WriteGate: Sendable {}
