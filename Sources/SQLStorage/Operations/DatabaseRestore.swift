// Puts a backup in the place of the database.
//
// No process may have the database open: all that do hold `proxy.db.lock` shared. The restoring
// process itself must not either: see RawFile. Called by the operator's commands.

internal import EventLoop
internal import Glibc
package import ProxyGPT

/// Puts a backup in the place of the database.
package enum DatabaseRestore {
    /// A backup that was opened, perhaps by root on behalf of another user.
    package final class Source {
        fileprivate let path: String
        fileprivate let file: RawFile
        fileprivate let size: Int64

        /// How SQLite's files begin (sqlite.org/fileformat.html, 1.3).
        private static let mark = Array("SQLite format 3\0".utf8)

        /// Throws where there is no such file, where it is no database, or where it is but part of one: before
        /// a byte of it is written anywhere.
        package init(_ path: String) throws {
            guard let file = try RawFile.existing(path) else { throw BackupError.absent(path) }
            guard try file.beginning(Self.mark.count) == Self.mark else {
                throw BackupError.foreign(path)
            }
            size = try file.size()
            if let log = try RawFile.existing(path + "-wal"), try log.size() > 0 {
                throw BackupError.hasLog(path)
            }
            self.path = path
            self.file = file
        }
    }

    /// The result of a restore.
    package struct Report: Sendable {
        /// Where the database is that was there before; nil where there was none.
        package let kept: String?
        package let pages: Int64
        package let schemaVersion: Int64
    }

    /// Checks a copy of `source` and puts it in the place of `database`, which is kept.
    /// - Throws: `BackupError`, `DatabaseError` or `SystemError`; the database is untouched then.
    package static func run(
        from source: Source, to database: String, now: Timestamp
    ) throws -> Report {
        let life = try LockFile(SQLStorage.lifeLock(of: database))
        guard life.tryLock(.exclusive) else { throw BackupError.serviceRuns }
        let checkpoints = try LockFile(WriteGate.checkpointLock(of: database))
        guard checkpoints.tryLock(.exclusive) else { throw BackupError.backupRuns }
        let new = database + ".restoring-\(getpid())"
        let copy = try RawFile.new(new)
        defer { DatabaseBackup.removeDatabase(new) }
        try source.file.copy(source.size, to: copy)
        let facts = try DatabaseBackup.check(new, as: source.path, expectsOwnSchema: true)
        try renewInstallation(new)
        try copy.synchronize()
        let kept = try keep(database, as: database + ".before-restore-" + stamp(now))
        // Under another name or not at all before, under this name from now on.
        guard rename(new, database) == 0 else { throw SystemError("rename to \(database)") }
        removeBus(beside: database)
        try RawFile.synchronize(directoryOf: database)
        return Report(kept: kept, pages: facts.pages, schemaVersion: facts.schemaVersion)
    }

    /// Entries in Redis may be newer than the backup, or belong to the installation it was made of:
    /// none belongs to this database.
    private static func renewInstallation(_ file: String) throws {
        let connection = try SQLiteConnection(file: file, role: .alone)
        let tables: SQL = "SELECT 1 FROM sqlite_schema WHERE name = 'installation'"
        // In a backup of an older release there is none yet.
        guard try !connection.query(tables).isEmpty else { return }
        _ = try connection.execute(SQL(unsafe: SQLStorage.renewal))
    }

    /// Gives the database a second, unused name, as one file where that is possible. A damaged
    /// database is kept as it is.
    private static func keep(_ database: String, as wanted: String) throws -> String? {
        guard access(database, F_OK) == 0 else {
            // A WAL without its database must not become the new one's.
            unlink(database + "-wal")
            unlink(database + "-shm")
            return nil
        }
        do {
            try SQLiteConnection(file: database, role: .alone).becomeOneFile()
        } catch let error as DatabaseError {
            if error.kind == .busy { throw error }
        }
        let name = try link(database, as: wanted)
        if rename(database + "-wal", name + "-wal") != 0, errno != ENOENT {
            throw SystemError("rename \(name)-wal")
        }
        unlink(database + "-shm")
        return name
    }

    /// Links a file under the first name that is free: the wanted one, or with a number behind it.
    private static func link(_ file: String, as wanted: String) throws(SystemError) -> String {
        for number in 1...1000 {
            let name = number == 1 ? wanted : "\(wanted)-\(number)"
            // A log left by another copy would become this one's.
            if access(name + "-wal", F_OK) == 0 { continue }
            if Glibc.link(file, name) == 0 { return name }
            guard errno == EEXIST else { throw SystemError("link \(name)") }
        }
        throw SystemError("link \(wanted)", code: EEXIST)
    }

    /// No subscriber may get frames of the other database: a new file is a new epoch.
    private static func removeBus(beside database: String) {
        let directory = database.lastIndex(of: "/").map { String(database[...$0]) } ?? "./"
        DatabaseBackup.removeDatabase(directory + "bus.db")
    }

    /// `20260131T235959Z`: a moment fit for a file name.
    private static func stamp(_ time: Timestamp) -> String {
        time.description.prefix(19).filter { $0 != "-" && $0 != ":" } + "Z"
    }
}
