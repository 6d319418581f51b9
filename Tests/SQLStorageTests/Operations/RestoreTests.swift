internal import EventLoop
internal import Glibc
internal import ProxyGPT
internal import TestSupport
internal import Testing

@testable internal import SQLStorage

@Suite struct RestoreTests {
    /// A place whose backup has one user, and whose database has two.
    private func prepare(_ place: Place) async throws -> String {
        let backup = place.directory + "/backup.db"
        try await place.with { storage in _ = try await storage.addUser("first") }
        _ = try DatabaseBackup.make(of: place.file, to: backup, replacing: true)
        try await place.with { storage in _ = try await storage.addUser("second") }
        return backup
    }

    private func restore(_ backup: String, _ place: Place) throws -> DatabaseRestore.Report {
        try DatabaseRestore.run(
            from: DatabaseRestore.Source(backup), to: place.file,
            now: Timestamp(milliseconds: 1_800_000_000_000))
    }

    private func users(_ file: String) throws -> [String] {
        try SQLiteConnection(file: file, role: .alone)
            .query("SELECT username FROM users ORDER BY username").map { try $0.text("username") }
    }

    private func clean(_ place: Place) {
        for name in [
            "/backup.db", "/bus.db", "/bus.db-wal", "/proxy.db.before-restore-20270115T080000Z",
            "/proxy.db.before-restore-20270115T080000Z-wal",
            "/proxy.db.before-restore-20270115T080000Z-2", "/pipe", "/link",
        ] { unlink(place.directory + name) }
    }

    @Test func `a backup becomes the database, and the one before is kept whole`() async throws {
        let place = try Place()
        defer { clean(place) }
        let backup = try await prepare(place)
        for name in ["/bus.db", "/bus.db-wal"] {
            _ = try RawFile.new(place.directory + name)
        }
        let report = try restore(backup, place)
        let kept = try #require(report.kept)
        #expect(kept == place.file + ".before-restore-20270115T080000Z")
        #expect(try users(kept) == ["first", "second"])
        #expect(try RawFile.existing(kept + "-wal") == nil)
        #expect(try RawFile.existing(place.directory + "/bus.db") == nil)
        #expect(try RawFile.existing(place.directory + "/bus.db-wal") == nil)
        try await place.with { storage in
            #expect(try await storage.number("SELECT COUNT(*) AS number FROM users") == 1)
            _ = try await storage.addUser("third")
        }
        #expect(try users(backup) == ["first"])
    }

    @Test func `a restored database is another installation, which shares nothing in Redis`()
        async throws
    {
        let place = try Place()
        defer { clean(place) }
        let (first, second, third) = (try made(1), try made(2), try made(3))
        try await place.with { storage in
            for new in [first, second] {
                let found = try await storage.installation(orElse: new)
                #expect(found == first)
            }
        }
        let backup = try await prepare(place)
        _ = try restore(backup, place)
        try await place.with { storage in
            let found = try await storage.installation(orElse: third)
            #expect(found == third)
        }
    }

    private func made(_ byte: UInt8) throws -> Installation {
        try #require(
            Installation(
                name: "000000000000000\(byte)", secret: [UInt8](repeating: byte, count: 32)))
    }

    @Test func `nothing is restored while the database is open, or being copied`() async throws {
        let place = try Place()
        defer { clean(place) }
        let backup = try await prepare(place)
        try await place.with { storage in
            #expect(throws: BackupError.serviceRuns) { try restore(backup, place) }
        }
        let copying = try LockFile(WriteGate.checkpointLock(of: place.file))
        try copying.lock(.shared)
        #expect(throws: BackupError.backupRuns) { try restore(backup, place) }
        copying.unlock()
        #expect(try users(place.file) == ["first", "second"])
    }

    @Test func `a schema object that this program does not know is refused, by its name`()
        async throws
    {
        let place = try Place()
        defer { clean(place) }
        let backup = try await prepare(place)
        #expect(throws: BackupError.absent("/nonexistent")) {
            try restore("/nonexistent", place)
        }
        #expect(throws: BackupError.self) { try restore("/proc/self/status", place) }
        let known = try #require(Migrations.all.last?.version)
        func change(_ sql: String) throws {
            try SQLiteConnection(file: backup, role: .alone).run(sql)
        }
        try change("INSERT INTO schema_migrations VALUES (\(known + 1), 'later')")
        #expect(throws: BackupError.newer(backup, found: known + 1, known: known)) {
            try restore(backup, place)
        }
        try change("DELETE FROM schema_migrations WHERE version > \(known)")
        try change("UPDATE schema_migrations SET name = 'other' WHERE version = 1")
        #expect(throws: BackupError.foreign(backup)) { try restore(backup, place) }
        try change("DROP TABLE schema_migrations")
        #expect(throws: BackupError.foreign(backup)) { try restore(backup, place) }
        #expect(try users(place.file) == ["first", "second"])
    }

    @Test func `two restores in one second keep both copies`() async throws {
        let place = try Place()
        defer { clean(place) }
        let backup = try await prepare(place)
        let kept = try (1...2).compactMap { _ in try restore(backup, place).kept }
        #expect(kept == [kept[0], kept[0] + "-2"])
        #expect(try users(kept[0]) == ["first", "second"])
        #expect(try users(kept[1]) == ["first"])
    }

    @Test(
        "A schema that is not ours is refused, whatever else is in it",
        arguments: [
            ("CREATE TRIGGER t AFTER INSERT ON users BEGIN DELETE FROM groups; END", "trigger t"),
            ("CREATE VIEW v AS SELECT 1 AS one", "view v"),
            ("CREATE TABLE mine (id TEXT)", "table mine"),
            ("CREATE VIRTUAL TABLE words USING fts5(text)", "table words"),
            ("CREATE INDEX mine ON users (role)", "index mine"),
            ("DROP INDEX messages_running", "index messages_running"),
            ("ALTER TABLE users ADD COLUMN more TEXT DEFAULT 'x'", "table users"),
        ])
    func schema(_ change: String, _ what: String) async throws {
        let place = try Place()
        defer { clean(place) }
        let backup = try await prepare(place)
        // As another program would.
        let other = try SQLiteConnection(file: backup, role: .alone)
        try other.run(change)
        let error = try #require(throws: BackupError.self) { try restore(backup, place) }
        guard case .otherSchema(_, let how) = error else {
            Issue.record("\(error)")
            return
        }
        #expect(how.contains(what))
        // Before there is need of it the operator hears of it from `doctor`.
        try SQLiteConnection(file: place.file, role: .alone).run(change)
        #expect(try DatabaseHealth.examine(place.file).otherSchema == how)
        #expect(try users(place.file) == ["first", "second"])
    }

    @Test func `the tables of ANALYZE are no other schema`() async throws {
        let place = try Place()
        defer { clean(place) }
        let backup = try await prepare(place)
        try SQLiteConnection(file: backup, role: .alone).run("ANALYZE")
        _ = try restore(backup, place)
        #expect(try users(place.file) == ["first"])
    }

    @Test func `a connection trusts no schema, and has neither triggers nor views`() throws {
        let connection = try SQLiteConnection(file: ":memory:", role: .alone)
        let trusted = try connection.query("PRAGMA trusted_schema").first?.values
        #expect(trusted == [.integer(0)])
        try connection.run("CREATE TABLE one (a)")
        try connection.run("CREATE TABLE two (a)")
        try connection.run(
            "CREATE TRIGGER t AFTER INSERT ON one BEGIN INSERT INTO two VALUES (1); END")
        try connection.run("CREATE VIEW v AS SELECT 1")
        try connection.run("INSERT INTO one VALUES (1)")
        #expect(try connection.query("SELECT a FROM two").isEmpty)
        #expect(throws: DatabaseError.self) { try connection.query("SELECT * FROM v") }
    }

    @Test(.timeLimit(.minutes(1)))
    func `a link, a pipe, a device and another file in its place are refused at once`()
        async throws
    {
        let place = try Place()
        defer { clean(place) }
        let backup = try await prepare(place)
        let (pipe, link) = (place.directory + "/pipe", place.directory + "/link")
        #expect(mkfifo(pipe, 0o600) == 0 && symlink(backup, link) == 0)
        for path in [pipe, link, "/dev/zero", place.directory] {
            let error = try #require(throws: SystemError.self) { try restore(path, place) }
            #expect("\(error)".contains("is a link") || "\(error)".contains("no regular file"))
        }
        // Nothing of it is copied before that is known.
        for path in ["/etc/passwd", "/dev/null"] {
            #expect(throws: (any Error).self) { try DatabaseRestore.Source(path) }
        }
        #expect(try users(place.file) == ["first", "second"])
    }

    @Test func `part of a database in use is no backup`() async throws {
        let place = try Place()
        try await place.with { storage in _ = try await storage.addUser("asim") }
        #expect(throws: BackupError.hasLog(place.file)) {
            try DatabaseRestore.Source(place.file)
        }
    }

    @Test func `a damaged database is kept as it is`() async throws {
        let place = try Place()
        defer { clean(place) }
        let backup = try await prepare(place)
        // The WAL alone would make it whole again.
        for suffix in ["", "-wal", "-shm"] { unlink(place.file + suffix) }
        try RawFile.existing("/proc/self/status")?.copy(to: RawFile.new(place.file))
        let kept = try #require(try restore(backup, place).kept)
        let file = try #require(try RawFile.existing(kept))
        #expect(try file.beginning(5) == Array("Name:".utf8))
        #expect(try users(place.file) == ["first"])
    }

    @Test func `a backup may be restored where there was nothing`() async throws {
        let place = try Place()
        defer { clean(place) }
        let backup = try await prepare(place)
        for suffix in ["", "-wal", "-shm"] { unlink(place.file + suffix) }
        #expect(try restore(backup, place).kept == nil)
        #expect(try users(place.file) == ["first"])
    }
}
