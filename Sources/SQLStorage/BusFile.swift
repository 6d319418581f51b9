// The file that the bus lives in, as a thing that may be replaced while processes have it open.
//
// What it holds is of no worth after a reboot: a file of another boot is emptied, a damaged one is
// deleted and made anew. Both begin a new epoch. Whoever has the old file open finds out by the
// inode, see stat(2), and opens the new one.

internal import EventLoop
internal import Glibc
internal import ProxyGPT

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

    /// The file that stands under the path now, nil for none.
    var identity: Identity? {
        var status = stat()
        guard stat(path, &status) == 0 else { return nil }
        return Identity(device: UInt(status.st_dev), inode: UInt(status.st_ino))
    }

    /// Opens the file for writing, with everything in it that has to be; waits for the gate.
    ///
    /// - Parameter damaged: the file that was found broken, to be deleted if it is still there.
    func open(insteadOf damaged: Identity? = nil) throws -> sending Opened {
        // Others know the lock files by the same path: links are followed once, here.
        let path = try SQLStorage.existing(path, mayCreate: true)
        let gate = try WriteGate(database: path)
        try gate.enter()
        defer { gate.leave() }
        if let damaged, identity == damaged { Self.delete(path) }
        do {
            return try opened(path, gate)
        } catch {
            guard error.isDamage else { throw error }
            Self.delete(path)
            return try opened(path, gate)
        }
    }

    private func opened(_ path: String, _ gate: WriteGate) throws -> Opened {
        _ = try SQLStorage.existing(path, mayCreate: true)
        let connection = try SQLiteConnection(file: path, role: .writer, durability: .normal)
        try Migrations.run(on: connection, BusMigrations.all)
        try beginEpochIfDue(connection)
        guard let identity else {
            throw DatabaseError(.inputOutput, "the file has gone", during: "open \(path)")
        }
        return Opened(connection: connection, gate: gate, identity: identity)
    }

    /// Empties a log of another boot: with `synchronous=NORMAL` a power failure may have taken its
    /// newest frames, and their ids would be given twice.
    private func beginEpochIfDue(_ connection: SQLiteConnection) throws {
        let rows = try connection.query("SELECT boot_id FROM log")
        if rows.count == 1, try rows.first?.text("boot_id") == bootID { return }
        // A UUID without its time: 62 random bits.
        let epoch = String(identifiers.next().filter { $0 != "-" }.suffix(16))
        try connection.run("BEGIN IMMEDIATE")
        do {
            for table in ["log", "frames", "messages", "trimmed_chats", "sqlite_sequence"] {
                try connection.run("DELETE FROM \(table)")
            }
            _ = try connection.execute(
                """
                INSERT INTO log (epoch, boot_id, trimmed, floor)
                VALUES (\(epoch), \(bootID), 0, 0)
                """)
            try connection.run("COMMIT")
        } catch {
            connection.rollBack()
            throw error
        }
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
