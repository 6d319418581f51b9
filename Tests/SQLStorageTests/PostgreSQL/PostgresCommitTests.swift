internal import EventLoop
internal import ProxyGPT
internal import Synchronization
internal import TestSupport
internal import Testing

@testable internal import SQLStorage

/// What is known, and told, of a commit that got no answer, or a refusal.
@Suite struct PostgresCommitTests {
    private static let failure: SQL =
        "INSERT INTO login_failures (key, count, last_at) VALUES ('a', 1, 0)"

    /// Makes the commit of a login failure take a minute, if nobody ends it.
    private func makeCommitsLinger(_ storage: SQLStorage) async throws {
        for statement: SQL in [
            """
            CREATE FUNCTION linger() RETURNS trigger LANGUAGE plpgsql AS
            $body$ BEGIN PERFORM pg_sleep(60); RETURN NULL; END $body$
            """,
            """
            CREATE CONSTRAINT TRIGGER lingers AFTER INSERT ON login_failures
            DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION linger()
            """,
        ] { try await storage.write(statement) }
    }

    @Test func `a commit during which the server was lost is an error of its own`() async throws {
        let place = try await Place(empty: .postgreSQL)
        try await place.with { storage in
            let (cluster, name) = try #require(place.database)
            try await makeCommitsLinger(storage)
            let runs = Atomic(0)
            let lost = Task {
                try await storage.database.transaction { transaction in
                    runs.add(1, ordering: .sequentiallyConsistent)
                    try await transaction.execute(Self.failure)
                }
            }
            try await eventually {
                try await cluster.run(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                        + "WHERE datname = '\(name)' AND state = 'active' AND query = 'COMMIT'"
                ).count == 1
            }
            let error = await #expect(throws: Failure.self) { try await lost.value }
            #expect(error?.message.contains("look whether") == true)
            #expect(runs.load(ordering: .sequentiallyConsistent) == 1, "it is not tried again")
        }
    }

    @Test func `so is one that the storage was closed in`() async throws {
        let place = try await Place(empty: .postgreSQL)
        let storage = try await place.open()
        let (cluster, name) = try #require(place.database)
        try await makeCommitsLinger(storage)
        let lost = Task { try await storage.write(Self.failure) }
        try await eventually {
            try await !cluster.run(
                "SELECT pid FROM pg_stat_activity "
                    + "WHERE datname = '\(name)' AND state = 'active' AND query = 'COMMIT'"
            ).isEmpty
        }
        await storage.close()
        let error = await #expect(throws: Failure.self) { try await lost.value }
        #expect(error?.message.contains("look whether") == true)
    }

    @Test func `one that the server refused has not happened, and is tried again`() async throws {
        let place = try await Place(empty: .postgreSQL)
        try await place.with(try place.configuration(size: 1)) { storage in
            try await storage.write("CREATE TABLE things (id BIGINT)")
            let runs = Atomic(0)
            for round in 1...2 {
                _ = try await storage.database.transaction { transaction in
                    runs.add(1, ordering: .sequentiallyConsistent)
                    try await transaction.send("INSERT INTO things VALUES (1)")
                    // In the second round this was prepared for another table.
                    try await transaction.send("SELECT * FROM things")
                }
                let count = try await storage.number("SELECT COUNT(*) AS number FROM things")
                #expect(count == Int64(round))
                if round == 1 { try await storage.write("ALTER TABLE things ADD name TEXT") }
            }
            #expect(runs.load(ordering: .sequentiallyConsistent) == 3)
        }
    }

    @Test(arguments: [true, false])
    func `an event whose opening got no answer is closed, whether it is there or not`(
        isThere: Bool
    ) async throws {
        let place = try await Place(empty: .postgreSQL)
        try await place.with { storage in
            for statement: SQL in [
                """
                CREATE FUNCTION vanish() RETURNS trigger LANGUAGE plpgsql AS
                $body$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END $body$
                """,
                """
                CREATE TRIGGER vanishes BEFORE INSERT ON events
                FOR EACH ROW EXECUTE FUNCTION vanish()
                """,
            ] { try await storage.write(statement) }
            var event = makeEvent()
            event.requestBody = [1, 2, 3]
            storage.events.open(event)
            await #expect(throws: DatabaseError.self) { try await storage.events.opened(event.id) }
            try await storage.write("DROP TRIGGER vanishes ON events")
            if isThere {
                // As its commit would have left it.
                try await storage.write(
                    """
                    INSERT INTO events (id, timestamp, type, request_id, client_ip, method, path,
                        bytes_in, bytes_out, process)
                    VALUES (\(event.id), \(event.timestamp), \(event.kind.rawValue), 'request',
                        '::1', 'GET', '/v1/models', 0, 0, \(storage.lease.process.id))
                    """)
            }
            try await storage.events.close(closed(event))
            #expect(try await storage.event(event.id)?.text("end") == "done")
            #expect(try await storage.number("SELECT COUNT(*) AS number FROM events") == 1)
            #expect(try await storage.number("SELECT COUNT(*) AS number FROM event_bodies") == 1)
            // Nothing is left to wonder about: the next of this id is another.
            await #expect(throws: DatabaseError.self) {
                try await storage.events.close(closed(event))
            }
        }
    }
}
