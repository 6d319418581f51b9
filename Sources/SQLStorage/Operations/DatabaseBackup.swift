// A copy of a live SQLite database, made without SQLite and without any transaction, however large
// the database is; and the check of the copy with SQLite.
//
// In WAL mode writers append to the WAL alone; the database file changes only in checkpoints, and
// ours are skipped while `checkpoint.lock` is held shared. So the file does not change. The
// committed part of the WAL is read from the WAL index inside the gate, where no commit is under
// way; those frames do not change, too, unless the WAL is reset: "After a complete checkpoint, if
// no other connections are in transactions that use the WAL, then subsequent write transactions can
// overwrite the WAL file from the beginning" (sqlite.org/fileformat2.html, "WAL Reset"). A complete
// checkpoint means that the database file has all of them, so then the file alone is the copy. A
// second reset cannot follow without a checkpoint.
//
// The process must not have the database open: see RawFile. Called by the operator's commands.

internal import EventLoop
internal import Glibc

/// Copies a database, in use or not, into one file.
package enum DatabaseBackup {
    /// The result of a backup.
    package struct Report: Sendable {
        package let pages: Int64
        package let bytes: Int64
        package let schemaVersion: Int64
        /// How much of it came from the WAL.
        package let walBytes: Int64
        package let milliseconds: Int64
    }

    /// Copies `database` to `target`, checks the copy and only then gives it its name. It holds all
    /// that was committed when the call began.
    /// - Parameter asReader: runs the code that opens the database's own files, perhaps as their
    ///   owner, while the copy belongs to the caller.
    /// - Throws: `BackupError`, `DatabaseError` or `SystemError`; `target` is untouched then.
    package static func make(
        of database: String, to target: String, replacing: Bool,
        asReader: (() throws -> Int64) throws -> Int64 = { try $0() }
    ) throws -> Report {
        let start = monotonicMilliseconds()
        guard replacing || access(target, F_OK) != 0 else { throw BackupError.exists(target) }
        let partial = try PlainFile.resolved(target) + ".partial-\(getpid())"
        let copy = try RawFile.new(partial)
        defer { removeDatabase(partial) }
        let wal = try RawFile.new(partial + "-wal")
        let walBytes = try asReader { try copyBytes(of: database, to: copy, wal: wal) }
        // Whatever was copied of a WAL that was reset meanwhile is in the database file, too.
        if walBytes == 0 { unlink(partial + "-wal") }
        let facts = try check(partial, as: database)
        try copy.synchronize()
        try give(partial, itsName: target, replacing: replacing)
        return Report(
            pages: facts.pages, bytes: try copy.size(), schemaVersion: facts.schemaVersion,
            walBytes: walBytes, milliseconds: monotonicMilliseconds() - start)
    }

    // MARK: - Bytes

    /// Copies the database file, and the part of the WAL that belongs to it. Returns that part.
    private static func copyBytes(
        of database: String, to copy: RawFile, wal: RawFile
    ) throws -> Int64 {
        let checkpoints = try LockFile(WriteGate.checkpointLock(of: database))
        try checkpoints.lock(.shared)
        guard let file = try RawFile.existing(database) else {
            throw SQLStorage.OpenError.absent(database)
        }
        let life = try LockFile(SQLStorage.lifeLock(of: database))
        if life.tryLock(.exclusive) {
            // No process has it open, and none opens it meanwhile. The WAL index means nothing
            // then.
            return try copyIdle(database, file, to: copy, wal: wal)
        }
        let length = try copyCommitted(of: database, to: wal)
        try file.copy(to: copy)
        return length
    }

    private static func copyIdle(
        _ database: String, _ file: RawFile, to copy: RawFile, wal: RawFile
    ) throws -> Int64 {
        if let journal = try RawFile.existing(database + "-journal"), try journal.size() > 0 {
            throw BackupError.unfinished(database)
        }
        try file.copy(to: copy)
        guard let log = try RawFile.existing(database + "-wal") else { return 0 }
        return try log.copy(to: wal)
    }

    /// Copies the committed part of the WAL of a database that is in use.
    private static func copyCommitted(of database: String, to wal: RawFile) throws -> Int64 {
        let gate = try WriteGate(database: database)
        for _ in 0..<500 {
            if let (log, index) = try committed(in: database, gate) {
                guard let log, index.frames > 0 else { return 0 }
                let length = try log.copy(index.walLength, to: wal)
                // Reset meanwhile, the database file has it all.
                let isWhole = index.describes(try log.beginning(WALIndex.walHeaderSize))
                return isWhole ? length : 0
            }
            // A process is just opening the database, or died over the index; the next one mends it.
            usleep(10_000)
        }
        throw BackupError.unreadableLog(database)
    }

    /// The WAL and its committed part; nil when that cannot be determined at this moment.
    private static func committed(
        in database: String, _ gate: WriteGate
    ) throws -> (log: RawFile?, index: WALIndex)? {
        try gate.enter()
        defer { gate.leave() }
        guard let shared = try RawFile.existing(database + "-shm"),
            let index = WALIndex(try shared.beginning(WALIndex.headerSize))
        else { return nil }
        if index.frames == 0 { return (nil, index) }
        guard let log = try RawFile.existing(database + "-wal"),
            index.describes(try log.beginning(WALIndex.walHeaderSize)),
            try log.size() >= index.walLength
        else { return nil }
        return (log, index)
    }

    // MARK: - The copy

    /// A database's own description of itself.
    struct Facts {
        let pages: Int64
        let schemaVersion: Int64
    }

    /// Makes one file of a database that no process has open, and checks all of it.
    /// - Parameters:
    ///   - name: the file that the copy was made of, for errors.
    ///   - expectsOwnSchema: throws where the file has anything in its schema that is not ours, or not as
    ///     we make it.
    static func check(
        _ file: String, as name: String, expectsOwnSchema: Bool = false
    ) throws -> Facts {
        do {
            return try facts(of: file, as: name, expectsOwnSchema)
        } catch let error as DatabaseError where error.kind == .damaged {
            throw BackupError.damaged(name, error.message)
        }
    }

    private static func facts(
        of file: String, as name: String, _ expectsOwnSchema: Bool
    ) throws -> Facts {
        let connection = try SQLiteConnection(file: file, role: .alone)
        let version = try connection.schemaVersion(name)
        // The check of all pages evaluates expressions of the schema.
        if expectsOwnSchema { try ReferenceSchema(version: version).check(connection, name) }
        try connection.becomeOneFile()
        let faults = try connection.query("PRAGMA integrity_check(3)").map {
            try $0.text("integrity_check")
        }
        guard faults == ["ok"] else {
            throw BackupError.damaged(name, faults.joined(separator: "; "))
        }
        guard try connection.query("PRAGMA foreign_key_check").isEmpty else {
            throw BackupError.damaged(name, "rows that refer to nothing")
        }
        return Facts(
            pages: try connection.query("PRAGMA page_count").first?.integer("page_count") ?? 0,
            schemaVersion: version)
    }

    private static func give(
        _ partial: String, itsName target: String, replacing: Bool
    ) throws {
        if replacing {
            guard rename(partial, target) == 0 else { throw SystemError("rename to \(target)") }
        } else if link(partial, target) != 0 {
            if errno == EEXIST { throw BackupError.exists(target) }
            throw SystemError("link \(target)")
        }
        try RawFile.synchronize(directoryOf: target)
    }

    /// Removes a database with all that may lie beside it.
    static func removeDatabase(_ file: String) {
        for suffix in ["", "-wal", "-shm", "-journal"] { unlink(file + suffix) }
    }
}

/// The reason why a backup cannot be made or put in place.
package enum BackupError: Error, Equatable, CustomStringConvertible {
    case exists(String)
    case absent(String)
    case unfinished(String)
    case unreadableLog(String)
    case damaged(String, String)
    case foreign(String)
    /// The file's schema is not as this program makes it.
    case otherSchema(String, String)
    case newer(String, found: Int64, known: Int64)
    case hasLog(String)
    case serviceRuns
    case backupRuns

    package var description: String {
        switch self {
        case .exists(let file): "\(file) is there already; --force replaces it"
        case .absent(let file): "there is no file \(file)"
        case .unfinished(let file):
            "\(file) was left in the middle of a change; start the service once to mend it"
        case .unreadableLog(let file): "the WAL of \(file) cannot be read"
        case .damaged(let file, let how): "\(file) is damaged: \(how)"
        case .foreign(let file): "\(file) is no database of Proxy GPT"
        case .otherSchema(let file, let how): "\(file) is not as Proxy GPT makes it: \(how)"
        case .newer(let file, let found, let known):
            "\(file) has schema version \(found), this program knows \(known): "
                + "use the newer release"
        case .hasLog(let file):
            "\(file) has a -wal beside it: it is no backup, but part of a database in use"
        case .serviceRuns: "the service runs; stop it first"
        case .backupRuns: "a backup is being made; wait for it"
        }
    }
}

extension SQLiteConnection {
    /// Moves the WAL's content into the file and removes the WAL. Leaving WAL mode "checkpoints and
    /// deletes the write-ahead-log file" (the comment at OP_JournalMode in SQLite's vdbe.c).
    func becomeOneFile() throws {
        let mode = try query("PRAGMA journal_mode = DELETE").first?.values.first
        guard mode == .text("delete") else {
            throw DatabaseError(.busy, "another process has the file open", during: "journal_mode")
        }
    }

    /// The version of our schema. Throws where the file has another one, or one that is newer.
    func schemaVersion(_ file: String) throws -> Int64 {
        guard
            try !query(
                """
                SELECT name FROM sqlite_master WHERE type = 'table' AND name = 'schema_migrations'
                """
            ).isEmpty
        else { throw BackupError.foreign(file) }
        let rows = try query("SELECT version, name FROM schema_migrations ORDER BY version")
        let known = Migrations.all
        let found = try rows.last?.integer("version") ?? 0
        guard found <= known.last?.version ?? 0 else {
            throw BackupError.newer(file, found: found, known: known.last?.version ?? 0)
        }
        let names = try rows.map { try $0.text("name") }
        guard !names.isEmpty, names == known.prefix(names.count).map(\.name) else {
            throw BackupError.foreign(file)
        }
        return found
    }
}
