internal import EventLoop
internal import Glibc
internal import ProxyGPT
internal import TestSupport
internal import Testing

@testable internal import SQLStorage

@Suite struct MigrationTests {
    private static let known = Migrations.all.last?.version ?? 0

    private func tables(on engine: Engine) -> SQL {
        switch engine {
        case .sqlite: "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name"
        case .postgreSQL:
            """
            SELECT CAST(tablename AS TEXT) AS name FROM pg_tables WHERE schemaname = 'public'
            ORDER BY tablename
            """
        }
    }

    private let later = Migration(version: known + 1, name: "later") { _ in
        ["CREATE TABLE later (id TEXT PRIMARY KEY)"]
    }

    private func open(_ place: Place, _ migrations: [Migration]) async throws -> SQLStorage {
        var tuning = SQLStorage.Tuning()
        tuning.migrations = migrations
        return try await place.open(tuning: tuning)
    }

    @Test(arguments: Engine.allCases)
    func `an empty file gets every table and a record of every step`(
        on engine: Engine
    ) async throws {
        let place = try await Place(empty: engine)
        try await place.with { storage in
            let rows = try await storage.database.query(tables(on: engine))
            let names = try rows.map { try $0.text("name") }
            #expect(
                names == [
                    "chat_users", "chats", "counters", "deleted_chats", "deletions", "event_bodies",
                    "events", "group_members", "groups", "installation", "login_failures",
                    "messages", "missed_ends", "moves", "processes", "revocations",
                    "schema_migrations", "sessions", "usage_days", "usage_progress", "users",
                ])
            let versions = try await storage.database.query(
                "SELECT version FROM schema_migrations ORDER BY version")
            #expect(
                try versions.map { try $0.integer("version") } == Migrations.all.map(\.version))
        }
    }

    @Test func `no step after the ninth indexes or rewrites the tables that grow without end`() {
        for dialect in [Dialect.sqlite, .postgreSQL] {
            for migration in Migrations.all where migration.version > 9 {
                for statement in migration.statements(dialect) {
                    let words = statement.split(whereSeparator: \.isWhitespace)
                        .map { $0.prefix { $0 != "(" } }
                    let isOfLarge = words.contains("events") || words.contains("messages")
                    let sets =
                        words.starts(with: ["ALTER", "TABLE"]) && words.dropFirst(3).first == "SET"
                    #expect(!isOfLarge || sets, "\(statement)")
                }
            }
        }
    }

    @Test func `PostgreSQL vacuums them in small parts`() async throws {
        let place = try await Place(empty: .postgreSQL)
        try await place.with { storage in
            let rows = try await storage.database.query(
                """
                SELECT CAST(relname AS TEXT) AS name, array_to_string(reloptions, ' ') AS options
                FROM pg_class WHERE relname IN ('events', 'messages') ORDER BY relname
                """)
            #expect(try rows.map { try $0.text("name") } == ["events", "messages"])
            for row in rows {
                let options = try row.text("options")
                #expect(options.contains("autovacuum_vacuum_scale_factor=0.01"))
                #expect(options.contains("autovacuum_vacuum_insert_scale_factor=0.02"))
            }
        }
    }

    @Test func `versions ascend`() {
        let versions = Migrations.all.map(\.version)
        #expect(versions == versions.sorted() && Set(versions).count == versions.count)
    }

    @Test(arguments: Engine.allCases)
    func `a database of the previous release gets the missing migrations and keeps its rows`(
        on engine: Engine
    )
        async throws
    {
        let place = try await Place(empty: engine)
        let old = try await open(place, Migrations.all)
        let user = try await old.addUser("asim").user
        await old.close()
        let new = try await open(place, Migrations.all + [later])
        #expect(try await new.number("SELECT COUNT(*) AS number FROM later") == 0)
        #expect(try await new.store.login(id: user.id)?.user == user)
        await new.close()
    }

    @Test(arguments: Engine.allCases)
    func `a newer schema is refused and left alone`(
        on engine: Engine
    ) async throws {
        let place = try await Place(empty: engine)
        await (try await open(place, Migrations.all + [later])).close()
        let error = await #expect(throws: MigrationError.self) {
            try await open(place, Migrations.all)
        }
        guard case .schemaIsNewer(Self.known + 1, Self.known) = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        let again = try await open(place, Migrations.all + [later])
        #expect(
            try await again.number("SELECT MAX(version) AS number FROM schema_migrations")
                == Self.known + 1)
        await again.close()
    }

    @Test(arguments: Engine.allCases)
    func `a step that fails stops the start and leaves nothing of itself`(
        on engine: Engine
    ) async throws {
        let place = try await Place(empty: engine)
        let broken = Migration(version: Self.known + 1, name: "broken") { _ in
            ["CREATE TABLE half (id TEXT PRIMARY KEY)", "CREATE TABLE half (id TEXT PRIMARY KEY)"]
        }
        let error = await #expect(throws: MigrationError.self) {
            try await open(place, Migrations.all + [broken])
        }
        #expect(error?.description.contains("migration \(Self.known + 1) (broken) failed") == true)
        let storage = try await open(place, Migrations.all)
        #expect(
            try await storage.number(
                "SELECT COUNT(*) AS number FROM (\(tables(on: engine))) AS tables WHERE name = 'half'"
            ) == 0)
        await storage.close()
    }

    @Test(arguments: Engine.allCases)
    func `of many that start at once one migrates and all work`(
        on engine: Engine
    ) async throws {
        let place = try await Place(empty: engine)
        let storages = try await concurrently(8) { _ in try await place.open() }.map {
            try $0.get()
        }
        for (index, storage) in storages.enumerated() {
            _ = try await storage.addUser("user\(index)")
        }
        #expect(try await storages[0].number("SELECT COUNT(*) AS number FROM users") == 8)
        for storage in storages { await storage.close() }
    }

    @Test func `all files are the owner's alone`() async throws {
        let place = try Place()
        try await place.with { storage in
            _ = try await storage.addUser("asim")
            for suffix in ["", "-wal", "-shm", ".gate.lock", ".wal.lock"] {
                var status = stat()
                #expect(stat(place.file + suffix, &status) == 0)
                #expect(status.st_mode & 0o777 == 0o600, "\(suffix)")
            }
        }
    }

    @Test func `a program that must not make a database makes none`() async throws {
        let place = try Place()
        await #expect(throws: SQLStorage.OpenError.absent(place.file)) {
            try await place.open(mayCreate: false)
        }
        var status = stat()
        #expect(stat(place.file, &status) != 0)
        #expect(throws: SystemError.self) {
            try SQLStorage.open(
                file: place.directory + "/none/proxy.db",
                process: ProcessIdentity(id: "a", host: "b", bootID: "c"), clock: TestClock(),
                logger: silent)
        }
    }

    @Test func `the list of an event's columns is that of the table`() throws {
        let columns = try ReferenceSchema.newest().columns(of: "events")
        #expect(EventColumn.all.map(\.name) + ["process"] == columns)
    }
}
