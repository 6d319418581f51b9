internal import EventLoop
internal import ProxyGPT
internal import TestSupport
internal import Testing

@testable internal import SQLStorage

/// Locks of strangers: of an operator at a prompt, of maintenance, of a process that stands still.
@Suite struct LockTests {
    /// Holds what a statement locks until the gate opens.
    private func stranger(
        in place: Place, until gate: Gate, _ statement: SQL
    ) async throws -> Task<Void, any Error> {
        let storage = try await place.open(try place.configuration(size: 1))
        let holds = Gate()
        let task = Task {
            do {
                try await storage.database.transaction { transaction in
                    _ = try await transaction.query(statement)
                    holds.open()
                    await gate.wait()
                }
            } catch {
                holds.open()
                await storage.close()
                throw error
            }
            await storage.close()
        }
        await holds.wait()
        return task
    }

    private func prompt(
        _ storage: SQLStorage, _ chat: Chat.ID, _ user: User.ID
    ) async throws -> Message? {
        let stored = try await storage.store.begin(
            NewMessage(
                id: Message.ID(ids.next()), chatID: chat, userID: user, prompt: "prompt",
                isOffRecord: false, state: .pending, idempotencyKey: nil, createdAt: now),
            limit: 1000, model: { $0 })
        if case .new(let message, _) = stored { return message }
        return nil
    }

    @Test func `all waiters for one locked chat hold one connection`() async throws {
        let place = try await Place(empty: .postgreSQL)
        try await place.with(try place.configuration(size: 3)) { storage in
            let user = try await storage.addUser("asim").user
            let other = try await storage.addUser("other").user
            let locked = makeChat(of: user.id)
            let free = makeChat(of: other.id)
            for chat in [locked, free] { try await storage.store.create(chat) }
            let first = try #require(try await prompt(storage, locked.id, user.id))
            let gate = Gate()
            defer { gate.open() }
            let stranger = try await stranger(
                in: place, until: gate, "SELECT id FROM chats WHERE id = \(locked.id) FOR UPDATE")
            let turns = try #require(storage.store.turns)
            let waiting = Task {
                await concurrently(12) { index in
                    if index == 7 {
                        _ = try await storage.store.finish(
                            first.id, ReplyEnd(.done, reply: "reply"), now: now)
                    } else {
                        _ = try await prompt(storage, locked.id, user.id)
                    }
                }
            }
            try await eventually { await turns.counts.waiting == 11 }
            try await eventually { await storage.connections()?.busy == 1 }
            #expect(try await prompt(storage, free.id, other.id) != nil)
            gate.open()
            for result in await waiting.value { try result.get() }
            _ = await stranger.result
            #expect(await turns.counts == (0, 0))
            #expect(try await storage.store.message(first.id, in: locked.id)?.state == .done)
        }
    }

    @Test(arguments: ["chats", "groups", "revocations"])
    func `all waiters for a locked counter hold one connection`(counter: String) async throws {
        let place = try await Place(empty: .postgreSQL)
        try await place.with(try place.configuration(size: 3)) { storage in
            let user = try await storage.addUser("asim").user
            let other = try await storage.addUser("other").user
            let free = makeChat(of: other.id)
            try await storage.store.create(free)
            let chats = (0..<6).map { _ in makeChat(of: user.id) }
            for chat in chats { try await storage.store.create(chat) }
            let gate = Gate()
            defer { gate.open() }
            let stranger = try await stranger(
                in: place, until: gate,
                "SELECT value FROM counters WHERE name = \(counter) FOR UPDATE")
            let turns = try #require(storage.store.turns)
            let waiting = Task {
                await concurrently(6) { index in
                    switch counter {
                    case "chats": try await storage.store.create(makeChat(of: user.id))
                    case "groups": try await storage.store.create(makeGroup(of: user.id))
                    default:
                        try await storage.store.deleteChat(chats[index].id, by: user.id, now: now)
                    }
                }
            }
            try await eventually { await turns.counts.waiting == 5 }
            try await eventually { await storage.connections()?.busy == 1 }
            #expect(try await prompt(storage, free.id, other.id) != nil)
            gate.open()
            for result in await waiting.value { try result.get() }
            _ = await stranger.result
            #expect(await turns.counts == (0, 0))
        }
    }

    @Test func `all waiters for a locked user, session or address hold one connection`()
        async throws
    {
        let place = try await Place(empty: .postgreSQL)
        try await place.with(try place.configuration(size: 3)) { storage in
            let (user, session) = try await storage.addUser("asim")
            let throttle = LoginThrottle(foldedName: "asim", clientAddress: "192.0.2.1")
            try await storage.store.failLogin(throttle, now: now)
            let turns = try #require(storage.store.turns)
            let cases: [(SQL, @Sendable () async throws -> Void)] = [
                (
                    "SELECT id FROM users WHERE id = \(user.id) FOR UPDATE",
                    { _ = try await storage.store.update(user.id, UserChange(), now: now) }
                ),
                (
                    "SELECT id FROM sessions WHERE id = \(session.session.id) FOR UPDATE",
                    {
                        try await storage.store.touch(
                            session.session.id, lastUsedAt: now, expiresAt: now)
                    }
                ),
                (
                    "SELECT key FROM login_failures FOR UPDATE",
                    { _ = try await storage.store.beginLogin(throttle, now: now) }
                ),
            ]
            for (lock, work) in cases {
                let gate = Gate()
                defer { gate.open() }
                let stranger = try await stranger(in: place, until: gate, lock)
                let waiting = Task { await concurrently(4) { _ in try await work() } }
                try await eventually { await turns.counts.waiting == 3 }
                try await eventually { await storage.connections()?.busy == 1 }
                gate.open()
                for result in await waiting.value { try result.get() }
                _ = await stranger.result
            }
        }
    }

    @Test func `a lock that does not end is reported as one, and in time`() async throws {
        let place = try await Place(empty: .postgreSQL)
        var configuration = try place.configuration()
        configuration.lockTimeout = "50ms"
        try await place.with(configuration) { storage in
            let user = try await storage.addUser("asim").user
            let chat = makeChat(of: user.id)
            try await storage.store.create(chat)
            let gate = Gate()
            defer { gate.open() }
            let stranger = try await stranger(
                in: place, until: gate, "SELECT id FROM chats WHERE id = \(chat.id) FOR UPDATE")
            let refusals = await concurrently(2) { index in
                if index == 0 {
                    _ = try await prompt(storage, chat.id, user.id)
                } else {
                    try await storage.store.deleteChat(chat.id, by: user.id, now: now)
                }
            }
            for refusal in refusals {
                guard case .failure(let error) = refusal else {
                    Issue.record("it was locked")
                    continue
                }
                #expect((error as? Failure)?.code == .unavailable, "\(error)")
                #expect((error as? Failure)?.retryAfter == 1)
            }
            gate.open()
            _ = await stranger.result
            #expect(try await prompt(storage, chat.id, user.id) != nil)
        }
    }

    @Test func `events wait longer for a lock than others do`() async throws {
        let place = try await Place(empty: .postgreSQL)
        var configuration = try place.configuration()
        configuration.lockTimeout = "20ms"
        try await place.with(configuration) { storage in
            let event = closed(makeEvent())
            let (cluster, name) = try #require(place.database)
            let lock = Task {
                try await cluster.run(
                    """
                    DO $$ BEGIN LOCK TABLE events IN ACCESS EXCLUSIVE MODE;
                    PERFORM pg_sleep(0.4); END $$
                    """, in: name)
            }
            try await eventually {
                try await cluster.run(
                    """
                    SELECT 1 AS one FROM pg_locks WHERE granted AND mode = 'AccessExclusiveLock'
                        AND relation = to_regclass('events')
                    """, in: name
                ).count == 1
            }
            try await storage.events.close(event)
            _ = try await lock.value
            #expect(try await storage.event(event.id) != nil)
        }
    }

    // It would take four minutes if each waited as long as a statement may take.
    @Test(.timeLimit(.minutes(2)))
    func `events behind a lock that lasts are refused, and written when it has gone`()
        async throws
    {
        let place = try await Place(empty: .postgreSQL)
        var configuration = try place.configuration()
        configuration.lockTimeout = "20ms"
        try await place.with(configuration) { storage in
            let gate = Gate()
            defer { gate.open() }
            let stranger = try await stranger(
                in: place, until: gate, "LOCK TABLE events IN ACCESS EXCLUSIVE MODE")
            let event = closed(makeEvent())
            for _ in 0..<2 {
                await #expect(throws: DatabaseError.self) { try await storage.events.close(event) }
            }
            gate.open()
            _ = await stranger.result
            try await storage.events.close(event)
            #expect(try await storage.event(event.id) != nil)
        }
    }

    @Test func `doctor sees locks that other sessions hold`() async throws {
        let place = try await Place(empty: .postgreSQL)
        try await place.with { storage in
            let user = try await storage.addUser("asim").user
            #expect(try await storage.foreignLocks().isEmpty)
            let gate = Gate()
            defer { gate.open() }
            let stranger = try await stranger(
                in: place, until: gate,
                """
                SELECT set_config('application_name', 'stranger', false) FROM users
                WHERE id = \(user.id) FOR UPDATE
                """)
            let locks = try await storage.foreignLocks()
            #expect(locks.count == 1)
            #expect(locks[0].contains("(stranger, local) holds RowShareLock on users"))
            gate.open()
            _ = await stranger.result
        }
    }

    @Test func `no caller gets a turn after the limit, and those behind are refused with it`()
        async throws
    {
        let turns = Turns(limit: -1)
        let gate = Gate()
        let holds = Gate()
        let first = Task {
            try await turns.run(["chat"]) {
                holds.open()
                await gate.wait()
            }
        }
        await holds.wait()
        let others = Task {
            await concurrently(3) { _ in try await turns.run(["user", "chat"]) {} }
        }
        try await eventually { await turns.counts.waiting == 3 }
        gate.open()
        try await first.value
        for other in await others.value {
            guard case .failure(let error) = other else {
                Issue.record("it came too late")
                continue
            }
            #expect((error as? Failure)?.code == .unavailable)
        }
        #expect(await turns.counts == (0, 0))
        try await turns.run(["user", "chat"]) {}
    }

    // MARK: - Migrations and readiness

    private static let advisory: SQL =
        "SELECT 1 AS one FROM pg_advisory_xact_lock(\(unsafe: "\(PostgresSchema.lock)"))"

    @Test func `without a pending migration no process waits for the lock of migrations`()
        async throws
    {
        let place = try await Place(empty: .postgreSQL)
        try await place.with { _ in }
        let gate = Gate()
        defer { gate.open() }
        let stranger = try await stranger(in: place, until: gate, Self.advisory)
        try await place.with { storage in
            let count = try await storage.number("SELECT COUNT(*) AS number FROM chats")
            #expect(count == 0)
        }
        gate.open()
        _ = await stranger.result
    }

    /// Holds for an advisory lock of this database: other tests on the same server have their own.
    private static let isOurs = """
        locktype = 'advisory' AND granted
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        """

    @Test func `a migration logs the session that it waits for`() async throws {
        let place = try await Place(empty: .postgreSQL)
        var tuning = SQLStorage.Tuning.still
        tuning.migrations = Array(Migrations.all.dropLast())
        try await place.with(tuning: tuning) { _ in }
        let (cluster, name) = try #require(place.database)
        let holder = Task {
            try await cluster.run(
                "SELECT pg_advisory_lock(\(PostgresSchema.lock)), pg_sleep(600)", in: name)
        }
        try await eventually {
            try await cluster.run(
                "SELECT 1 AS one FROM pg_locks WHERE \(Self.isOurs)", in: name
            ).count == 1
        }
        let journal = LogJournal()
        let opening = Task { try await place.open(logger: journal.logger) }
        try await eventually {
            journal.text.contains("migration waits for a lock")
        }
        #expect(journal.text.contains("(proxy-gpt, local, "))
        try await cluster.run(
            """
            SELECT pg_terminate_backend(pid) FROM pg_locks WHERE \(Self.isOurs)
            """, in: name)
        let storage = try await opening.value
        let versions = try await storage.number(
            "SELECT MAX(version) AS number FROM schema_migrations")
        #expect(versions == Migrations.all.last?.version)
        await storage.close()
        _ = await holder.result
    }

    @Test func `a process that cannot write is unhealthy, and healthy again by itself`()
        async throws
    {
        let place = try await Place(empty: .postgreSQL)
        var configuration = try place.configuration()
        configuration.lockTimeout = "20ms"
        try await place.with(configuration) { storage in
            try await storage.lease.start()
            #expect(await storage.isHealthy())
            let gate = Gate()
            defer { gate.open() }
            let stranger = try await stranger(
                in: place, until: gate, "SELECT id FROM processes FOR UPDATE")
            try await eventually { await !storage.isHealthy() }
            gate.open()
            _ = await stranger.result
            try await storage.lease.renew()
            #expect(await storage.lease.canWrite())
        }
    }
}
