// One connection to the SQLite file.
//
// Owns a sqlite3 handle and its prepared statements. Confined to one thread at a time: the loop's
// for the reading connection, the writer's for the writing one. No connection of ours ever
// checkpoints by itself; see WriteGate.

internal import CSQLite
internal import EventLoop
internal import Glibc

/// Runs statements on the file, keeping each prepared.
final class SQLiteConnection {
    /// The purpose of the connection.
    enum Role {
        case reader, writer
        /// The file's only user, whatever its journal mode is.
        case alone
    }

    /// The commits that a power failure may take.
    enum Durability: String {
        /// Nothing that is committed.
        case full = "FULL"
        /// The newest commits; the remaining database is whole.
        case normal = "NORMAL"
    }

    /// The size to which the WAL is cut when it starts over (sqlite.org/pragma.html,
    /// "journal_size_limit"): twice the growth from one checkpoint to the next.
    static let walLimit: Int64 = 64 << 20

    /// Where the WAL hook leaves its number; the hook holds its address.
    private final class Gauge {
        var pages: Int32 = 0
        var most: Int32 = 0
    }

    private let handle: OpaquePointer
    private let role: Role
    private let gauge = Gauge()
    private var statements: [String: SQLiteStatement] = [:]

    init(
        file: String, role: Role, durability: Durability = .full
    ) throws(DatabaseError) {
        var handle: OpaquePointer?
        // Without SQLITE_OPEN_CREATE: the file is there already, with the mode it should have.
        // No component of the path may be a link (sqlite.org/c3ref/open.html, SQLITE_OPEN_NOFOLLOW).
        let flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW
        let code = sqlite3_open_v2(file, &handle, flags, nil)
        guard code == SQLITE_OK, let handle else {
            let error = DatabaseError(sqlite: handle, code: code, during: "open \(file)")
            sqlite3_close(handle)
            throw error
        }
        self.handle = handle
        self.role = role
        sqlite3_extended_result_codes(handle, 1)
        try configure(SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        try configure(SQLITE_DBCONFIG_DQS_DML, 0)
        try configure(SQLITE_DBCONFIG_DQS_DDL, 0)
        // A file may come from anywhere: its schema calls no function that does more than compute,
        // and ours has no triggers and views (sqlite.org/security.html).
        try configure(SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)
        try configure(SQLITE_DBCONFIG_DEFENSIVE, 1)
        try configure(SQLITE_DBCONFIG_ENABLE_TRIGGER, 0)
        try configure(SQLITE_DBCONFIG_ENABLE_VIEW, 0)
        waitForOthers()
        try run("PRAGMA mmap_size = 0")
        try run("PRAGMA foreign_keys = ON")
        // Savepoints spill to memory, so that no temporary directory is needed.
        try run("PRAGMA temp_store = MEMORY")
        switch role {
        case .writer:
            let mode = try query("PRAGMA journal_mode = WAL").first?.values.first
            guard mode == .text("wal") else {
                throw DatabaseError(.inputOutput, "the file system allows no WAL", during: file)
            }
            try run("PRAGMA synchronous = \(durability.rawValue)")
            try run("PRAGMA journal_size_limit = \(Self.walLimit)")
        case .reader:
            try run("PRAGMA query_only = ON")
        case .alone:
            try run("PRAGMA synchronous = FULL")
        }
        // "PRAGMA wal_autocheckpoint … uses sqlite3_wal_hook" (sqlite.org/c3ref/wal_hook.html):
        // the hook comes second.
        try run("PRAGMA wal_autocheckpoint = 0")
        sqlite3_wal_hook(
            handle,
            { context, _, _, pages in
                guard let context else { return SQLITE_OK }
                let gauge = Unmanaged<Gauge>.fromOpaque(context).takeUnretainedValue()
                gauge.pages = pages
                gauge.most = max(gauge.most, pages)
                return SQLITE_OK
            }, Unmanaged.passUnretained(gauge).toOpaque())
    }

    deinit {
        statements.removeAll()
        // "If the database connection is associated with unfinalized prepared statements … then
        // the close happens when they are" (sqlite.org/c3ref/close.html): those of the events.
        sqlite3_close_v2(handle)
    }

    /// Pages in the WAL after the last commit made here.
    var walPages: Int32 { gauge.pages }
    /// The most of them since `emptyWAL`.
    var mostWALPages: Int32 { gauge.most }

    /// A number that differs once another connection has committed (sqlite.org/pragma.html,
    /// "PRAGMA data_version").
    func dataVersion() throws -> Int64? {
        try query("PRAGMA data_version").first?.integer("data_version")
    }

    /// Whether a transaction is open. SQLite ends one by itself on some errors, such as a full
    /// disk.
    var isInTransaction: Bool { sqlite3_get_autocommit(handle) == 0 }

    func query(_ sql: SQL) throws(DatabaseError) -> [Row] {
        try statement(sql.text).rows(sql.values)
    }

    /// Runs a statement and returns how many rows it changed.
    func execute(_ sql: SQL) throws(DatabaseError) -> Int {
        let before = sqlite3_total_changes64(handle)
        try statement(sql.text).run(sql.values)
        // Zero for statements that change nothing, where `changes` still has the number of an
        // earlier one.
        return sqlite3_total_changes64(handle) == before ? 0 : Int(sqlite3_changes64(handle))
    }

    /// Runs a statement without values.
    func run(_ text: String) throws(DatabaseError) {
        try statement(text).run()
    }

    /// Undoes the open transaction, where there is one.
    func rollBack() {
        guard isInTransaction else { return }
        // Fails only where SQLite has rolled back by itself already.
        sqlite3_exec(handle, "ROLLBACK", nil, nil, nil)
    }

    /// Runs `body` and interrupts it after this time. Returns the result of `body`, nil where the
    /// interruption made it fail, and whether it ended without one.
    func interrupting<T>(
        after milliseconds: Int64, _ body: () throws(DatabaseError) -> T
    ) throws(DatabaseError) -> (value: T?, isWhole: Bool) {
        let timer = InterruptTimer(handle, after: milliseconds)
        do {
            let value = try body()
            return (value, !timer.stop())
        } catch {
            guard timer.stop(), error.kind == .interrupted else { throw error }
            return (nil, false)
        }
    }

    /// Prepares a statement that the caller keeps and resets.
    func prepare(_ text: String) throws(DatabaseError) -> SQLiteStatement {
        try SQLiteStatement(text, on: handle)
    }

    /// Rows that the last INSERT, UPDATE or DELETE changed.
    var changes: Int { Int(sqlite3_changes64(handle)) }

    /// The key of the row that was inserted last into a table that has such keys.
    var lastInsertedRow: Int64 { sqlite3_last_insert_rowid(handle) }

    /// A constant millisecond between two tries: SQLite's own handler backs off to 100 ms.
    private func waitForOthers() {
        switch role {
        case .writer: sqlite3_busy_handler(handle, { _, tries in waitBriefly(tries, 10_000) }, nil)
        case .reader, .alone:
            sqlite3_busy_handler(handle, { _, tries in waitBriefly(tries, 500) }, nil)
        }
    }

    /// Copies all of the WAL into the database and gives its space back, where no connection reads
    /// from it just now; otherwise as `checkpoint`. Only inside the gate.
    func emptyWAL() throws(DatabaseError) {
        // Writers that wait behind the gate do not wait for readers here.
        sqlite3_busy_handler(handle, nil, nil)
        defer { waitForOthers() }
        let code = sqlite3_wal_checkpoint_v2(handle, nil, SQLITE_CHECKPOINT_TRUNCATE, nil, nil)
        if code == SQLITE_OK { gauge.most = 0 }
        guard code == SQLITE_OK || code & 0xFF == SQLITE_BUSY else {
            throw DatabaseError(sqlite: handle, code: code, during: "checkpoint")
        }
    }

    /// Copies the frames that no reader needs any more from the WAL into the database. Only inside
    /// the gate.
    @discardableResult
    func checkpoint() throws(DatabaseError) -> (pages: Int32, copied: Int32) {
        var pages: Int32 = 0
        var copied: Int32 = 0
        let code = sqlite3_wal_checkpoint_v2(
            handle, nil, SQLITE_CHECKPOINT_PASSIVE, &pages, &copied)
        guard code == SQLITE_OK else {
            throw DatabaseError(sqlite: handle, code: code, during: "checkpoint")
        }
        return (pages, copied)
    }

    /// The sum of `SQLiteStatement.takeCost` over all statements.
    func takeCost() -> (steps: Int, scanned: Int) {
        statements.values.reduce((0, 0)) { sum, statement in
            let cost = statement.takeCost()
            return (sum.0 + cost.steps, sum.1 + cost.scanned)
        }
    }

    private func statement(_ text: String) throws(DatabaseError) -> SQLiteStatement {
        if let statement = statements[text] { return statement }
        // Statements are written in the code; lists of different lengths alone make them many.
        if statements.count >= 256 { statements.removeAll() }
        let statement = try prepare(text)
        statements[text] = statement
        return statement
    }

    private func configure(_ option: Int32, _ value: Int32) throws(DatabaseError) {
        let code = proxy_gpt_sqlite_db_config(handle, option, value)
        guard code == SQLITE_OK else {
            throw DatabaseError(sqlite: handle, code: code, during: "sqlite3_db_config \(option)")
        }
    }

    /// SQLite's version as one number, 3040001 for 3.40.1.
    static var libraryVersion: Int32 { sqlite3_libversion_number() }
}

@available(*, unavailable) extension SQLiteConnection: Sendable {}

private func waitBriefly(_ tries: Int32, _ limit: Int32) -> Int32 {
    guard tries < limit else { return 0 }
    usleep(1000)
    return 1
}
