internal import EventLoop
internal import ProxyGPT
internal import TestSupport
internal import Testing

@testable internal import SQLStorage

/// An installation that moves from SQLite to PostgreSQL.
@Suite struct DatabaseMoveTests {
    private let here: Place
    private let there: Place

    init() async throws {
        here = try Place()
        there = try await Place(empty: .postgreSQL)
        let place = here
        try await place.with { storage in try await Self.fill(storage) }
    }

    private static func fill(_ storage: SQLStorage) async throws {
        let user = try await storage.addUser("asim").user
        let chat = makeChat(of: user.id)
        try await storage.store.create(chat)
        for number in 0..<250 {
            _ = try await storage.database.transaction { transaction in
                let prompt = "\(number): κόσμε ' \\ \" 🎈\n"
                try await transaction.execute(
                    """
                    INSERT INTO messages (id, chat_id, seq, user_id, prompt, reply, model, state,
                        created_at, updated_at, process)
                    VALUES (\(ids.next()), \(chat.id), \(number + 1), \(user.id), \(prompt),
                        \(String(repeating: "r", count: number * 100)), \("m"),
                        \(number == 249 ? "streaming" : "done"), \(now), \(now), \("dead"))
                    """)
            }
        }
        let event = makeEvent()
        storage.events.open(event)
        try await storage.events.opened(event.id)
        for number in 0..<20 {
            let body: [UInt8]? = number % 2 == 0 ? [0, 1, 255, UInt8(number)] : nil
            _ = try await storage.database.transaction { transaction in
                try await transaction.execute(
                    """
                    INSERT INTO event_bodies (id, request, response)
                    VALUES (\(ids.next()), \(body ?? []), \(body))
                    """)
            }
        }
    }

    private func openTarget() async throws -> SQLStorage {
        var configuration = try there.configuration()
        configuration.countsProcesses = false
        configuration.mayBeIncomplete = true
        return try await there.open(configuration)
    }

    @discardableResult
    private func move(from place: Place? = nil) async throws -> DatabaseMove.Report {
        let target = try await openTarget()
        do {
            let report = try await DatabaseMove.run(
                from: (place ?? here).file, to: target, identifiers: ids, clock: TestClock(),
                logger: silent, progress: { _, _, _ in })
            await target.close()
            return report
        } catch {
            await target.close()
            throw error
        }
    }

    private func ask(_ statement: String) async throws {
        let (cluster, name) = try #require(there.database)
        try await cluster.run(statement, in: name)
    }

    @Test func `a moved database is another installation`() async throws {
        func made(_ byte: UInt8) throws -> Installation {
            let secret = [UInt8](repeating: byte, count: 32)
            return try #require(Installation(name: "000000000000000\(byte)", secret: secret))
        }
        let (first, second, third) = (try made(1), try made(2), try made(3))
        let (place, target) = (here, try await openTarget())
        try await place.with { storage in _ = try await storage.installation(orElse: first) }
        // That of an installation whose tables were emptied by hand.
        var found = try await target.installation(orElse: second)
        #expect(found == second)
        await target.close()
        try await move()
        let moved = try await openTarget()
        found = try await moved.installation(orElse: third)
        #expect(found == third)
        await moved.close()
    }

    @Test func `every table moves but those about a database itself`() async throws {
        try await here.with { storage in
            let rows = try await storage.database.query(
                "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
            let moved = DatabaseMove.Table.all.map(\.name) + DatabaseMove.Table.others
            #expect(try rows.map { try $0.text("name") } == moved.sorted())
        }
    }

    @Test func `no foreign table moves, and columns are the program's own`()
        async throws
    {
        let columns = try ReferenceSchema.newest().columns(of: "login_failures")
        #expect(columns.starts(with: ["key", "count", "last_at"]))
        try SQLiteConnection(file: here.file, role: .alone).run(
            "CREATE TRIGGER t AFTER UPDATE ON moves BEGIN DELETE FROM users; END")
        await #expect(throws: BackupError.self) { try await move() }
        try SQLiteConnection(file: here.file, role: .alone).run("DROP TRIGGER t")
        try SQLiteConnection(file: here.file, role: .alone).run(
            "ALTER TABLE users ADD COLUMN \"x\"\"); DROP TABLE users; --\" TEXT")
        await #expect(throws: BackupError.self) { try await move() }
    }

    @Test func `all rows arrive as they were, and running replies have failed`() async throws {
        let report = try await move()
        let counts = Dictionary(report.tables.map { ($0.name, $0.rows) }) { $1 }
        #expect(counts["users"] == 1 && counts["messages"] == 250 && counts["event_bodies"] == 20)
        await #expect(throws: MoveError.hasEnded) { try await move() }
        // As an operator does to go back to it.
        _ = try SQLiteConnection(file: here.file, role: .alone).execute("DELETE FROM moves")
        try await there.with { target in
            try await here.with { source in
                for storage in [source, target] {
                    let rows = try await storage.database.query(
                        "SELECT state FROM messages ORDER BY id DESC LIMIT 1")
                    #expect(try rows.first?.text("state") == "failed")
                    let ends = try await storage.database.query("SELECT \"end\" FROM events")
                    #expect(try ends.map { try $0.optionalText("end") } == ["error"])
                }
                let sql: SQL = "SELECT * FROM messages ORDER BY id"
                let old = try await source.database.query(sql).map(\.values)
                #expect(try await target.database.query(sql).map(\.values) == old)
            }
            // Counters go on above what they have given.
            let user = try await target.addUser("other").user
            try await target.store.create(makeChat(of: user.id))
            #expect(try await target.number("SELECT MAX(seq) AS number FROM chats") == 2)
        }
    }

    @Test func `an interrupted move goes on, and until its end no process serves from the target`()
        async throws
    {
        try await openTarget().close()
        try await ask("ALTER TABLE event_bodies ADD CONSTRAINT shut CHECK (id = '')")
        await #expect(throws: (any Error).self) { try await move() }
        await #expect(throws: SQLStorage.OpenError.incomplete) { try await there.open() }
        try await ask("ALTER TABLE event_bodies DROP CONSTRAINT shut")
        let report = try await move()
        #expect(report.tables.first { $0.name == "messages" }?.rows == 250)
        try await there.open().close()
    }

    @Test(arguments: [
        "UPDATE messages SET reply = 'other' WHERE seq = 120", "DELETE FROM messages WHERE seq = 7",
        "UPDATE users SET role = NULL", "DELETE FROM event_bodies",
        "INSERT INTO deleted_chats VALUES ('x')",
    ])
    func `what is not the same on both sides is found`(change: String) async throws {
        try await openTarget().close()
        try await ask("ALTER TABLE users ALTER COLUMN role DROP NOT NULL")
        // The last step fails once all is copied.
        try await ask("ALTER TABLE moves ADD CHECK (ended_at IS NULL)")
        await #expect(throws: (any Error).self) { try await move() }
        try await ask(change)
        do {
            try await move()
            Issue.record("nothing was found")
        } catch MoveError.differs(let table, _) {
            #expect(change.contains(table))
        } catch is DatabaseError where change == "DELETE FROM event_bodies" {
            // What is missing at the end has been copied again; the last step fails still.
        }
        await #expect(throws: SQLStorage.OpenError.incomplete) { try await there.open() }
    }

    @Test func `only a new database is taken`() async throws {
        try await there.with { _ = try await $0.addUser("somebody") }
        await #expect(throws: MoveError.targetIsNotEmpty("users")) { try await move() }
    }

    @Test func `a database with another installation in it is refused`() async throws {
        try await openTarget().close()
        try await ask("INSERT INTO moves VALUES ('another', 0, NULL)")
        await #expect(throws: MoveError.targetIsAnothers) { try await move() }
    }

    @Test func `neither side may be in use`() async throws {
        try await here.with { _ in
            await #expect(throws: MoveError.sourceIsInUse(here.file)) { try await move() }
        }
        try await openTarget().close()
        try await ask(
            "INSERT INTO processes VALUES ('p', 'h', 'b', \(Dialect.postgreSQLClock) + 3600000)")
        await #expect(throws: MoveError.targetIsInUse) { try await move() }
    }

    @Test func `an invented model's name does not stop a move`() async throws {
        try await here.with { storage in
            _ = try await storage.database.transaction { transaction in
                try await transaction.execute("UPDATE events SET model = \("a\u{0}b")")
            }
        }
        try await move()
        let target = try await openTarget()
        let rows = try await target.database.query("SELECT model FROM events")
        #expect(try rows.map { try $0.text("model") } == ["a\u{FFFD}b"])
        await target.close()
    }

    @Test func `no process serves from a file that has moved`() async throws {
        try await move()
        await #expect(throws: SQLStorage.OpenError.moved(here.file)) {
            try await here.with { _ in }
        }
    }

    @Test func `large rows after small ones come a few at a time`() async throws {
        try await here.with { storage in
            _ = try await storage.database.transaction { transaction in
                for number in 0..<400 {
                    let body = [UInt8](repeating: 7, count: number < 300 ? 1 : 200_000)
                    try await transaction.execute(
                        "INSERT INTO event_bodies (id, request) VALUES (\(ids.next()), \(body))")
                }
            }
        }
        let report = try await move()
        #expect(report.tables.last?.rows == 420)
    }

    @Test func `a text that PostgreSQL cannot hold is named before anything is copied`()
        async throws
    {
        try await here.with { storage in
            _ = try await storage.database.transaction { transaction in
                try await transaction.execute(
                    "UPDATE messages SET reply = \("a\u{0}b") WHERE seq = 3")
            }
        }
        do {
            try await move()
            Issue.record("it was copied")
        } catch MoveError.hasNullCharacter(let table, _) {
            #expect(table == "messages")
        }
        let target = try await openTarget()
        #expect(try await target.number("SELECT COUNT(*) AS number FROM users") == 0)
        await target.close()
    }
}
