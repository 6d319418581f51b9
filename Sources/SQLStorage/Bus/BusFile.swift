// The file that the bus lives in, as a thing that may be replaced while processes have it open.
//
// The content is worthless after a reboot: a file of another boot is emptied, a damaged one is
// deleted and created anew. Both begin a new epoch. A process that has the old file open notices
// the other inode, see stat(2), and opens the new file.
//
// A file may also have been put back to an earlier state, with the whole directory. A process that
// has it open knows its last position. Where no process has, that is not known: so the first
// process that opens the file begins a new epoch too. A lock, shared by all processes that have the
// file open, shows which one is the first.

internal import EventLoop
internal import Glibc
internal import ProxyGPT
internal import Synchronization

/// Opens the bus's file and notices when it was replaced.
struct BusFile: Sendable {
    /// The identity of the file at a path: device and inode.
    struct Identity: Equatable, Sendable {
        let device: UInt
        let inode: UInt
    }

    /// A writer's connection with the locks that belong to it.
    struct Opened {
        let connection: SQLiteConnection
        let gate: WriteGate
        let identity: Identity
    }

    let path: String
    /// The host's kernel since its start.
    let bootID: String
    /// Where new epochs come from.
    let identifiers: any IdentifierSource
    private let life = Life()

    init(path: String, bootID: String, identifiers: any IdentifierSource) {
        self.path = path
        self.bootID = bootID
        self.identifiers = identifiers
    }

    /// Shows other processes that the file is open here, as long as the object lives.
    private final class Life: Sendable {
        private let lock = Mutex<LockFile?>(nil)

        /// Joins the processes that have the file open, inside the gate; true where there are no
        /// others.
        func begin(_ file: String) throws(SystemError) -> Bool {
            try lock.withLock { lock throws(SystemError) in
                guard lock == nil else { return false }
                let new = try LockFile(SQLStorage.lifeLock(of: file))
                let isFirst = new.tryLock(.exclusive)
                try new.lock(.shared)
                lock = new
                return isFirst
            }
        }
    }

    /// The file at the path now, nil for none.
    var identity: Identity? {
        var status = stat()
        guard stat(path, &status) == 0 else { return nil }
        return Identity(device: UInt(status.st_dev), inode: UInt(status.st_ino))
    }

    /// Opens the file for writing, with everything in it that has to be; waits for the gate.
    ///
    /// - Parameters:
    ///   - damaged: the file that was found broken, to be deleted if it is still there.
    ///   - former: the epoch that must not go on.
    func open(
        insteadOf damaged: Identity? = nil, renewing former: String? = nil
    ) throws -> sending Opened {
        // Other processes know the lock files by the same path: links are followed once, here.
        let path = try SQLStorage.existing(path, mayCreate: true)
        let gate = try WriteGate(database: path)
        try gate.enter()
        defer { gate.leave() }
        let isFirst = try life.begin(path)
        if let damaged, identity == damaged { Self.delete(path) }
        do {
            return try opened(path, gate, isFirst, former)
        } catch {
            guard error.isDamage else { throw error }
            Self.delete(path)
            return try opened(path, gate, isFirst, former)
        }
    }

    private func opened(
        _ path: String, _ gate: WriteGate, _ isFirst: Bool, _ former: String?
    ) throws -> Opened {
        _ = try SQLStorage.existing(path, mayCreate: true)
        let connection = try SQLiteConnection(file: path, role: .writer, durability: .normal)
        try Migrations.run(on: connection, BusMigrations.all)
        try beginEpochIfDue(connection, isFirst, former)
        guard let identity else {
            throw DatabaseError(.inputOutput, "the file has gone", during: "open \(path)")
        }
        return Opened(connection: connection, gate: gate, identity: identity)
    }

    /// Empties a log that must not go on: one of another boot, since with `synchronous=NORMAL` a
    /// power failure may have taken its newest frames, whose ids would be given twice, and one that
    /// no process has open.
    private func beginEpochIfDue(
        _ connection: SQLiteConnection, _ isFirst: Bool, _ former: String?
    ) throws {
        let rows = try connection.query("SELECT boot_id, epoch FROM log")
        let isShared = try connection.query("PRAGMA user_version").first?.integer("user_version")
        // A file of the previous release may be in use by processes of that release, which do not
        // take the lock.
        let mayBeFirst = isFirst && isShared == 1
        if isShared != 1 { try connection.run("PRAGMA user_version = 1") }
        if rows.count == 1, let row = rows.first, try row.text("boot_id") == bootID, !mayBeFirst,
            try row.text("epoch") != former
        {
            return
        }
        try connection.run("BEGIN IMMEDIATE")
        do {
            try beginEpoch(connection)
            try connection.run("COMMIT")
        } catch {
            connection.rollBack()
            throw error
        }
    }

    /// Empties the log and names it anew, inside a transaction.
    func beginEpoch(_ connection: SQLiteConnection) throws {
        // A UUID without its time: 62 random bits.
        let epoch = String(identifiers.next().filter { $0 != "-" }.suffix(16))
        for table in ["log", "frames", "messages", "trimmed_chats", "sqlite_sequence"] {
            try connection.run("DELETE FROM \(table)")
        }
        _ = try connection.execute(
            """
            INSERT INTO log (epoch, boot_id, trimmed, floor)
            VALUES (\(epoch), \(bootID), 0, 0)
            """)
    }

    /// Deletes the file and SQLite's files beside it. Only inside the gate. Open connections go on
    /// with a file that no other process sees; none of ours touches the new file when it closes,
    /// since it neither checkpoints then nor deletes anything.
    private static func delete(_ path: String) {
        for name in ["", "-wal", "-shm"] { unlink(path + name) }
    }
}

extension Error {
    /// Whether the error means that the file's content is broken.
    var isDamage: Bool {
        if case .failed(_, _, let cause)? = self as? MigrationError { return cause.isDamage }
        return (self as? DatabaseError)?.kind == .damaged
    }
}
