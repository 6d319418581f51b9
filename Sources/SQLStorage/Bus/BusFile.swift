// The file that the bus lives in, as a thing that may be replaced while processes have it open.
//
// What it holds is of no worth after a reboot: a file of another boot is emptied, a damaged one is
// deleted and made anew. Both begin a new epoch. Whoever has the old file open finds out by the
// inode, see stat(2), and opens the new one.
//
// A file may also have been put back to what it was before, with the whole directory. Whoever has it
// open knows how far it had come. Where nobody has, nobody can tell: so the first process that opens
// it begins a new epoch too. A lock tells who is the first, shared by all that have it open.

internal import EventLoop
internal import Glibc
internal import ProxyGPT
internal import Synchronization

/// Opens the bus's file and tells when it is another one.
struct BusFile: Sendable {
    /// Which file stands under a path: device and inode.
    struct Identity: Equatable, Sendable {
        let device: UInt
        let inode: UInt
    }

    /// The connection of somebody who writes, and what stands around it.
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

    /// Says to others that the file is open here, for as long as it is there.
    private final class Life: Sendable {
        private let lock = Mutex<LockFile?>(nil)

        /// Joins those that have the file open, inside the gate; true where there are no others.
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

    /// The file that stands under the path now, nil for none.
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
        // Others know the lock files by the same path: links are followed once, here.
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

    /// Empties a log that must not go on: one of another boot, since with `synchronous=NORMAL` a power failure
    /// may have taken its newest frames, whose ids would be given twice, and one that nobody has open.
    private func beginEpochIfDue(
        _ connection: SQLiteConnection, _ isFirst: Bool, _ former: String?
    ) throws {
        let rows = try connection.query("SELECT boot_id, epoch FROM log")
        let isShared = try connection.query("PRAGMA user_version").first?.integer("user_version")
        // At a file of the release before may be processes of it, which do not say that they have it open.
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

    /// Deletes the file and what SQLite keeps beside it. Only inside the gate. Connections that
    /// others have to it go on with what nobody else sees; none of ours touches the new one when
    /// it closes, since it neither checkpoints then nor deletes anything.
    private static func delete(_ path: String) {
        for name in ["", "-wal", "-shm"] { unlink(path + name) }
    }
}

extension Error {
    /// Whether it says that the file's content is broken.
    var isDamage: Bool {
        if case .failed(_, _, let cause)? = self as? MigrationError { return cause.isDamage }
        return (self as? DatabaseError)?.kind == .damaged
    }
}
