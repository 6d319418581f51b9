internal import EventLoop
internal import Glibc
internal import Logging
internal import ProxyGPT
internal import Synchronization
internal import TestSupport
internal import Testing

@testable internal import SQLStorage

/// What PostgreSQL has of its own: types, collations, privileges, transactions beside one another.
@Suite struct PostgresTests {
    // MARK: - Values

    @Test func `a text with a null character is refused, never cut`() async throws {
        let place = try await Place(empty: .postgreSQL)
        try await place.with { storage in
            let error = await #expect(throws: DatabaseError.self) {
                try await storage.database.query("SELECT \("before\u{0}after") AS text")
            }
            #expect(error?.description.contains("before") == false)
            let one = try await storage.number("SELECT 1 AS number")
            #expect(one == 1)
        }
    }

    @Test func `an event with one is kept, with another character instead of it`() async throws {
        let place = try await Place(empty: .postgreSQL)
        try await place.with { storage in
            var event = makeEvent()
            event.model = "a\u{0}b"
            try await storage.events.close(closed(event))
            #expect(try await storage.event(event.id)?.text("model") == "a\u{FFFD}b")
        }
    }

    @Test func `a NULL takes the type of its context`() async throws {
        let place = try await Place(empty: .postgreSQL)
        try await place.with { storage in
            let none: String? = nil
            let user = try await storage.addUser("asim").user
            for name in [none, "Ben", none] {
                let rows = try await storage.database.query(
                    """
                    SELECT COALESCE(\(name), first_name) AS name,
                        CASE WHEN first_name = \(name) THEN 1 ELSE 2 END AS kind
                    FROM users WHERE id = \(user.id) AND disabled_at IS NOT DISTINCT FROM \(none)
                    """)
                #expect(try rows.first?.text("name") == (name ?? "First"))
                #expect(try rows.first?.integer("kind") == 2)
            }
        }
    }

    @Test func `truths and sums are integers, as in SQLite`() async throws {
        let place = try await Place(empty: .postgreSQL)
        try await place.with { storage in
            let rows = try await storage.database.query(
                """
                SELECT 1 = 1 AS yes, 1 = 2 AS no, SUM(n) AS sum, AVG(n) AS average
                FROM (SELECT CAST(3 AS BIGINT) AS n UNION ALL SELECT 4) AS numbers
                """)
            let row = try #require(rows.first)
            #expect(try row.value("yes") == .integer(1))
            #expect(try row.value("no") == .integer(0))
            #expect(try row.value("sum") == .integer(7))
            #expect(try row.value("average") == .real(3.5))
        }
    }

    @Test func `ids are in the order of their bytes, whatever language the database speaks`()
        async throws
    {
        let place = try await Place(empty: .postgreSQL)
        try await place.with { storage in
            for name in ["b", "B", "a", "Z"] {
                try await storage.write(
                    "INSERT INTO login_failures (key, count, last_at) VALUES (\(name), 1, 0)")
            }
            let rows = try await storage.database.query(
                "SELECT key FROM login_failures WHERE key > 'A' ORDER BY key")
            #expect(try rows.map { try $0.text("key") } == ["B", "Z", "a", "b"])
            let language = try await storage.database.query(
                "SELECT 'a' < 'B' AS natural")
            #expect(try language.first?.integer("natural") == 1, "or this test shows nothing")
        }
    }

    @Test func `more statements than are kept prepared all work`() async throws {
        let place = try await Place(empty: .postgreSQL)
        try await place.with { storage in
            for round in 0..<2 {
                for number in 0..<600 {
                    let sql = SQL(unsafe: "SELECT \(number) AS number")
                    #expect(try await storage.number(sql) == Int64(number), "round \(round)")
                }
            }
            let kept = try await storage.number(
                "SELECT COUNT(*) AS number FROM pg_prepared_statements")
            #expect(kept <= Int64(PreparedStatements.limit))
        }
    }

    @Test func `events of every kind fit into one batch`() async throws {
        let place = try await Place(empty: .postgreSQL)
        try await place.with { storage in
            let events = (0..<2000).map { index in
                var event = makeEvent()
                if index % 3 == 0 { event.requestBody = [UInt8](repeating: 7, count: 2000) }
                return event
            }
            for result in await concurrently(
                2000,
                { index in
                    if index % 2 == 0 {
                        storage.events.open(events[index])
                        if index % 4 == 0 { try await storage.events.opened(events[index].id) }
                    }
                    try await storage.events.close(closed(events[index]))
                })
            {
                try result.get()
            }
            #expect(
                try await storage.number(
                    "SELECT COUNT(*) AS number FROM events WHERE \"end\" = 'done'") == 2000)
            #expect(try await storage.number("SELECT COUNT(*) AS number FROM event_bodies") == 667)
            #expect(storage.events.remembered == 0)
        }
    }

    // MARK: - The start

    @Test func `the specification's privileges are enough`() async throws {
        let place = try await Place(empty: .postgreSQL)
        try await place.with { storage in
            let rows = try await storage.database.query(
                """
                SELECT CAST(current_user AS TEXT) AS name, rolsuper, rolcreatedb,
                    pg_get_userbyid(datdba) = current_user AS owns
                FROM pg_roles, pg_database
                WHERE rolname = current_user AND datname = current_database()
                """)
            let row = try #require(rows.first)
            #expect(try row.text("name") == "gptio")
            for right in ["rolsuper", "rolcreatedb", "owns"] {
                #expect(try row.integer(right) == 0, "\(right)")
            }
        }
    }

    @Test func `processes that cannot all connect are refused by the sum`() async throws {
        let place = try await Place(empty: .postgreSQL)
        let first = try await place.open()
        try await first.lease.start()
        // By the server's clock, as the processes of a service are.
        try await first.write(
            "UPDATE processes SET heartbeat = \(SQL(unsafe: Dialect.postgreSQLClock)) + 3600000")
        var configuration = try place.configuration(size: 150)
        let error = await #expect(throws: SQLStorage.OpenError.self) {
            try await place.open(configuration)
        }
        #expect(error?.description.contains("2 processes of 150 connections each") == true)
        #expect(error?.description.contains("need 300, PostgreSQL allows 197") == true)
        configuration.countsProcesses = false
        await (try await place.open(configuration)).close()
        await first.close()
    }

    @Test func `another encoding than UTF-8 is refused`() async throws {
        let cluster = try Cluster.shared.get()
        try await cluster.makeUser()
        try await cluster.run(
            "CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0 "
                + "LOCALE_PROVIDER libc")
        let error = await #expect(throws: SQLStorage.OpenError.self) {
            try await SQLStorage.open(
                PostgresPool.Configuration(address: cluster.address(of: "latin"), size: 1),
                process: ProcessIdentity(id: "a", host: "b", bootID: "c"), clock: TestClock(),
                identifiers: ids, logger: silent, tuning: SQLStorage.Tuning())
        }
        #expect(error == .wrongEncoding("LATIN1"))
    }

    @Test(
        arguments: [
            "postgresql://u:se%cret@h/d", "postgresql://u:secret@h:port/d?secret=1",
            "postgresql://u:secret@h/d?sslmod=require",
        ])
    func `an address that libpq does not take is refused without showing it`(_ address: String)
        async throws
    {
        let error = await #expect(throws: (any Error).self) {
            try await SQLStorage.open(
                PostgresPool.Configuration(address: Secret(address), size: 1),
                process: ProcessIdentity(id: "a", host: "b", bootID: "c"), clock: TestClock(),
                identifiers: ids, logger: silent, tuning: SQLStorage.Tuning())
        }
        let text = String(describing: error)
        #expect(!text.contains("secret") && !text.contains("cret"), "\(text)")
    }

    // MARK: - Transactions beside one another

    @Test func `transactions that stand in each other's way are run again, and all succeed`()
        async throws
    {
        let place = try await Place(empty: .postgreSQL)
        try await place.with { storage in
            for key in ["a", "b"] {
                try await storage.write(
                    "INSERT INTO login_failures (key, count, last_at) VALUES (\(key), 0, 0)")
            }
            let met = Atomic(0)
            let runs = Atomic(0)
            for result in await concurrently(
                2,
                { index in
                    try await storage.database.transaction { transaction in
                        runs.add(1, ordering: .sequentiallyConsistent)
                        let keys = index == 0 ? ["a", "b"] : ["b", "a"]
                        for (step, key) in keys.enumerated() {
                            try await transaction.execute(
                                "UPDATE login_failures SET count = count + 1 WHERE key = \(key)")
                            guard step == 0 else { continue }
                            met.add(1, ordering: .sequentiallyConsistent)
                            // Each has its first row before either goes for its second.
                            while met.load(ordering: .sequentiallyConsistent) < 2 {
                                _ = try await transaction.query("SELECT pg_sleep(0.01)")
                            }
                        }
                    }
                })
            {
                try result.get()
            }
            #expect(runs.load(ordering: .sequentiallyConsistent) > 2, "one was the victim")
            #expect(
                try await storage.number("SELECT SUM(count) AS number FROM login_failures") == 4)
        }
    }

    @Test func `a number is never seen before the ones below it, however late they commit`()
        async throws
    {
        let place = try await Place(empty: .postgreSQL)
        try await place.with { storage in
            let count = 60
            async let writers = concurrently(6) { index in
                for _ in 0..<count / 6 {
                    try await storage.database.transaction { transaction in
                        try await transaction.revoke(Revocation(chat: Chat.ID("c")), now: now)
                        // The number is taken, and its transaction in no hurry.
                        _ = try await transaction.query(
                            "SELECT pg_sleep(\(unsafe: index % 2 == 0 ? "0" : "0.01"))")
                    }
                }
            }
            var last: Int64 = 0
            while last < Int64(count) {
                for (number, _) in try await storage.store.revocations(after: last) {
                    #expect(number == last + 1)
                    last = number
                }
            }
            for result in await writers { try result.get() }
        }
    }

    @Test func `a page goes on at a message and skips none, however late the others commit`()
        async throws
    {
        let place = try await Place(empty: .postgreSQL)
        try await place.with { storage in
            for statement: SQL in [
                """
                CREATE FUNCTION linger() RETURNS trigger LANGUAGE plpgsql AS
                $body$ BEGIN PERFORM pg_sleep(random() * 0.02); RETURN NULL; END $body$
                """,
                """
                CREATE CONSTRAINT TRIGGER lingers AFTER INSERT ON messages
                DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION linger()
                """,
            ] { try await storage.write(statement) }
            let user = try await storage.addUser("asim").user
            let chat = makeChat(of: user.id)
            try await storage.store.create(chat)
            @Sendable func write() async throws -> Message {
                let message = NewMessage(
                    id: Message.ID(ids.next()), chatID: chat.id, userID: user.id, prompt: "p",
                    isOffRecord: true, state: .done, idempotencyKey: nil, createdAt: now)
                switch try await storage.store.begin(message, limit: 8, model: { $0 }) {
                case .new(let message, _), .known(let message): return message
                }
            }
            var seen = [try await write()]
            let count = 30
            async let writers = concurrently(6) { _ in
                for _ in 0..<count / 6 { _ = try await write() }
            }
            while seen.count <= count {
                let page = Page(limit: 5, place: .after(seen[seen.count - 1].id.text))
                seen += try await storage.store.messages(of: chat.id, page).elements
                try #require(seen.map(\.seq) == Array(1..<Int64(seen.count + 1)))
            }
            for result in await writers { try result.get() }
        }
    }

    @Test func `a body that swallows an error cannot commit the rest`() async throws {
        let place = try await Place(empty: .postgreSQL)
        try await place.with { storage in
            await #expect(throws: DatabaseError.self) {
                try await storage.database.transaction { transaction in
                    try await transaction.execute(
                        "INSERT INTO login_failures (key, count, last_at) VALUES ('a', 1, 0)")
                    _ = try? await transaction.query("SELECT nothing")
                }
            }
            let left = try await storage.number("SELECT COUNT(*) AS number FROM login_failures")
            #expect(left == 0)
        }
    }

    @Test func `a heartbeat is by the server's clock, not by the host's`() async throws {
        let place = try await Place(empty: .postgreSQL)
        let behind = try await place.open(
            place.configuration(), clock: SetClock(1_000_000_000_000), process: "behind")
        let ahead = try await place.open(
            place.configuration(), clock: SetClock(4_000_000_000_000), process: "ahead")
        for storage in [behind, ahead] { try await storage.lease.start() }
        for storage in [behind, ahead, behind] { try await storage.lease.renew() }
        #expect(try await ahead.number("SELECT COUNT(*) AS number FROM processes") == 2)
        for storage in [behind, ahead] { await storage.close() }
    }
}
