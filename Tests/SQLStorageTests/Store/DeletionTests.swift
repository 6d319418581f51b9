internal import EventLoop
internal import ProxyGPT
internal import TestSupport
internal import Testing

@testable internal import SQLStorage

private let needle = "canary-7c1f"

extension SQLStorage {
    /// How many rows of any table hold a text.
    fileprivate func rows(holding text: String, on engine: Engine) async throws -> Int64 {
        var count: Int64 = 0
        let names: SQL =
            engine == .sqlite
            ? "SELECT name FROM sqlite_schema WHERE type = 'table'"
            : "SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public'"
        for table in try await database.query(names).map({ try $0.text("name") }) {
            var content = "CAST(t AS TEXT)"
            if engine == .sqlite {
                content = try await database.query("SELECT name FROM pragma_table_info(\(table))")
                    .map { try "COALESCE(CAST(\"\($0.text("name"))\" AS TEXT), '')" }
                    .joined(separator: " || ")
            }
            count += try await number(
                """
                SELECT COUNT(*) AS number FROM \(unsafe: table) AS t
                WHERE \(unsafe: content) LIKE \("%\(text)%")
                """)
        }
        return count
    }

    fileprivate func sweepAll() async throws {
        while try await store.sweepDeletions() {}
    }
}

/// Transactions of PostgreSQL that hold what they have locked until the gate opens, as those of a
/// process that stands still, or dies.
private func holding(
    _ storage: SQLStorage, until gate: Gate, fails: Bool = false, _ statement: SQL
) async -> Task<Void, any Error> {
    let holds = Gate()
    let task = Task {
        try await storage.database.transaction { transaction in
            try await transaction.execute(statement)
            holds.open()
            await gate.wait()
            if fails { throw Failure(.unavailable, "died") }
        }
    }
    await holds.wait()
    return task
}

@Suite struct DeletionTests {
    private func withSome(
        _ count: Int, _ engine: Engine, _ body: ([SQLStorage]) async throws -> Void
    ) async throws {
        let place = try await Place(engine)
        var storages: [SQLStorage] = []
        for _ in 0..<count { storages.append(try await place.open()) }
        do {
            try await body(storages)
        } catch {
            for storage in storages { await storage.close() }
            throw error
        }
        for storage in storages { await storage.close() }
    }

    // MARK: - Several at once

    @Test(arguments: Engine.allCases)
    func `however many sweep at once, nothing of a large chat is left`(
        on engine: Engine
    ) async throws {
        try await withSome(4, engine) { storages in
            let user = try await storages[0].addUser("asim").user
            let chat = makeChat(of: user.id)
            try await storages[0].store.create(chat)
            try await storages[0].addMessages(5000, to: chat, of: user.id, prompt: needle)
            #expect(try await storages[1].rows(holding: needle, on: engine) == 5000)
            let results = await concurrently(8) { index in
                if index == 0 {
                    try await storages[0].store.deleteChat(chat.id, by: user.id, now: now)
                }
                try await storages[index % 4].sweepAll()
            }
            for result in results { try result.get() }
            try await storages[1].sweepAll()
            #expect(try await storages[1].rows(holding: needle, on: engine) == 0)
            #expect(
                try await storages[1].number("SELECT COUNT(*) AS number FROM deleted_chats") == 0)
        }
    }

    @Test(arguments: [false, true])
    func `a sweep that meets another one passes by and forgets nothing`(
        ofOneThatDies dies: Bool
    ) async throws {
        try await withSome(2, .postgreSQL) { storages in
            let user = try await storages[0].addUser("asim").user
            let chat = makeChat(of: user.id)
            try await storages[0].addMessages(30, to: chat, of: user.id, prompt: needle)
            try await storages[0].write("INSERT INTO deleted_chats VALUES (\(chat.id))")
            // As releases before have swept: without a lock on the mark.
            let gate = Gate()
            defer { gate.open() }
            let other = await holding(
                storages[0], until: gate, fails: dies,
                """
                DELETE FROM messages WHERE id IN (
                    SELECT id FROM messages WHERE chat_id = \(chat.id) ORDER BY seq LIMIT 10)
                """)
            #expect(try await storages[1].database.sweepDeletions() == .progress)
            #expect(try await storages[1].database.sweepDeletions() == .blocked)
            #expect(
                try await storages[1].number("SELECT COUNT(*) AS number FROM messages") == 10)
            #expect(
                try await storages[1].number("SELECT COUNT(*) AS number FROM deleted_chats") == 1)
            #expect(try await !storages[1].lease.expire(), "something is left")
            gate.open()
            _ = await other.result
            try await storages[1].sweepAll()
            #expect(try await storages[1].rows(holding: needle, on: .postgreSQL) == 0)
            #expect(
                try await storages[1].number("SELECT COUNT(*) AS number FROM deleted_chats") == 0)
        }
    }

    @Test func `every batch skips rows that another process has locked, and comes back for them`()
        async throws
    {
        try await withSome(2, .postgreSQL) { storages in
            let user = try await storages[0].addUser("asim").user
            let old = UUIDText.version7(milliseconds: 1, counter: 0, random: 0).dropLast(4)
            let write = storages[0].write
            for number in 1000..<1200 {
                let (id, digest) = ("\(number)", Array("\(number)".utf8))
                try await write(
                    "INSERT INTO event_bodies (id) VALUES (\(String(old) + "\(number)"))")
                try await write(
                    "INSERT INTO revocations (seq, created_at) VALUES (\(number), 0)")
                try await write(
                    "INSERT INTO sessions VALUES (\(id), \(user.id), \(digest), 0, 0, 0, 0)")
                try await write(
                    """
                    INSERT INTO login_failures (key, count, last_at) VALUES (\("\(number)"), 1, 0)
                    """)
            }
            let tables = ["event_bodies", "revocations", "sessions", "login_failures"]
            let gate = Gate()
            defer { gate.open() }
            var others: [Task<Void, any Error>] = []
            for table in tables.prefix(3) {
                let key = table == "revocations" ? "seq" : "id"
                others.append(
                    await holding(
                        storages[0], until: gate,
                        """
                        DELETE FROM \(unsafe: table) WHERE \(unsafe: key) IN (
                            SELECT \(unsafe: key) FROM \(unsafe: table)
                            ORDER BY \(unsafe: key) DESC LIMIT 10)
                        """))
            }
            while try await storages[1].number(
                "SELECT COUNT(*) AS number FROM event_bodies") > 10
            {
                #expect(try await !storages[1].lease.expire())
            }
            for table in tables.prefix(3) {
                #expect(
                    try await storages[1].number(
                        "SELECT COUNT(*) AS number FROM \(unsafe: table)")
                        == (table == "sessions" ? 11 : 10), "\(table)")
            }
            gate.open()
            for other in others { _ = await other.result }
            while try await !storages[1].lease.expire() {}
            for _ in 0..<3 {
                try await storages[1].store.failLogin(
                    LoginThrottle(foldedName: "asim", clientAddress: "::1"), now: now)
            }
            let left: [Int64] = [0, 0, 1, 3]
            for (table, count) in zip(tables, left) {
                #expect(
                    try await storages[1].number(
                        "SELECT COUNT(*) AS number FROM \(unsafe: table)") == count, "\(table)")
            }
        }
    }

    // MARK: - Marks

    @Test(arguments: Engine.allCases)
    func `a deleted group is hidden at once, and removed after a crash too`(
        on engine: Engine
    ) async throws {
        try await withSome(2, engine) { storages in
            let store = storages[0].store
            let owner = try await storages[0].addUser("owner").user
            let guest = try await storages[0].addUser("guest").user
            let group = makeGroup(of: owner.id)
            try await store.create(group)
            let chats = (0..<150).map { _ in makeChat(of: owner.id, in: group.id) }
            for chat in chats { try await store.create(chat) }
            try await store.addUser(
                UserReference(guest.id.text), to: chats[0].id, by: owner.id, now: now)
            try await storages[0].addMessages(5, to: chats[0], of: owner.id, prompt: needle)
            let running = try await store.begin(
                NewMessage(
                    id: Message.ID(ids.next()), chatID: chats[1].id, userID: owner.id,
                    prompt: "prompt", isOffRecord: false, state: .pending, idempotencyKey: nil,
                    createdAt: now), limit: 8, model: { $0 })
            guard case .new = running else { return }
            #expect(try await store.runningReplies().count == 1)
            try await store.deleteGroup(group.id, by: owner.id, now: now)

            // The process dies here: nothing has been swept.
            #expect(try await storages[1].number("SELECT COUNT(*) AS number FROM chats") == 150)
            #expect(try await store.runningReplies().isEmpty)
            for user in [owner, guest] {
                #expect(try await store.access(to: chats[0].id, of: user.id) == nil)
                #expect(try await store.chats(of: user.id, in: nil, Page()).elements.isEmpty)
                #expect(try await store.groups(of: user.id, Page()).elements.isEmpty)
                #expect(try await store.groups(of: user.id).isEmpty)
                await #expect(throws: Failure.notFound("chat")) {
                    try await store.deleteChat(chats[0].id, by: user.id, now: now)
                }
            }
            await #expect(throws: Failure.notFound("group")) {
                try await store.create(makeChat(of: owner.id, in: group.id))
            }
            #expect(try await store.group(group.id, for: owner.id) == nil)
            #expect(try await store.revocations(after: 0).last?.revocation.group == group.id)
            await storages[0].close()

            try await storages[1].sweepAll()
            #expect(try await storages[1].rows(holding: group.id.text, on: engine) == 1)
            #expect(try await storages[1].rows(holding: needle, on: engine) == 0)
            for table in [
                "chats", "groups", "group_members", "chat_users", "messages", "deletions",
            ] {
                #expect(
                    try await storages[1].number(
                        "SELECT COUNT(*) AS number FROM \(unsafe: table)") == 0, "\(table)")
            }
        }
    }

    @Test(arguments: Engine.allCases)
    func `a deleted user is out of sight at once, and its name free`(
        on engine: Engine
    ) async throws {
        try await withSome(2, engine) { storages in
            let store = storages[0].store
            let (user, session) = try await storages[0].addUser("asim")
            let friend = try await storages[0].addUser("friend").user
            let chats = (0..<150).map { _ in makeChat(of: user.id) }
            for chat in chats { try await store.create(chat) }
            try await store.addUser(
                UserReference("friend"), to: chats[0].id, by: user.id, now: now)
            try await storages[0].addMessages(5, to: chats[0], of: user.id, prompt: needle)
            let group = makeGroup(of: friend.id)
            try await store.create(group)
            try await store.addMembers(
                [UserReference("asim")], to: group.id, by: friend.id, now: now)
            let kept = makeChat(of: user.id, in: group.id)
            try await store.create(kept)
            var event = closed(makeEvent())
            event.userID = nil
            let gone = try await store.deleteUser(user.id, handingGroupsTo: nil, event)
            #expect(gone.chats == 150)

            #expect(try await store.caller(tokenDigest: session.tokenDigest, now: now) == nil)
            #expect(try await store.login(foldedName: "asim") == nil)
            #expect(try await store.account(UserReference("asim"), now: now) == nil)
            #expect(try await store.account(UserReference(user.id.text), now: now) == nil)
            #expect(try await store.accounts(after: nil, limit: 9, now: now).count == 1)
            #expect(try await store.access(to: chats[0].id, of: friend.id) == nil)
            #expect(
                try await store.chats(of: friend.id, in: nil, Page()).elements.map(\.id)
                    == [kept.id])
            let told = try await store.revocations(after: 0).map(\.revocation)
            #expect(told.suffix(2) == [Revocation(user: user.id), Revocation(holder: user.id)])
            let namesake = try await storages[0].addUser("asim").user
            await #expect(throws: Failure.notFound("user")) {
                _ = try await store.deleteUser(user.id, handingGroupsTo: nil, closed(makeEvent()))
            }
            await storages[0].close()

            try await storages[1].sweepAll()
            #expect(try await storages[1].rows(holding: needle, on: engine) == 0)
            let left = try await storages[1].store.accounts(after: nil, limit: 9, now: now)
            #expect(Set(left.map(\.user.id)) == [friend.id, namesake.id])
            #expect(try await storages[1].store.chat(kept.id)?.userID == friend.id)
            for (table, count) in [("chats", Int64(1)), ("chat_users", 0), ("deletions", 0)] {
                #expect(
                    try await storages[1].number(
                        "SELECT COUNT(*) AS number FROM \(unsafe: table)") == count, "\(table)")
            }
        }
    }

    @Test func `a group of 20,000 chats holds the writer for 50 ms at most`() async throws {
        let holds = WriterHolds()
        let place = try Place()
        var tuning = SQLStorage.Tuning.still
        tuning.observe = holds.observer
        try await place.with(tuning: tuning) { storage in
            let owner = try await storage.addUser("owner").user
            let group = makeGroup(of: owner.id)
            try await storage.store.create(group)
            try await storage.write(
                """
                WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
                INSERT INTO chats (id, seq, name, model, user_id, group_id, created_at, updated_at)
                SELECT 'chat-' || i, i, '', '', \(owner.id), \(group.id), 0, 0 FROM n
                """)
            try await storage.write(
                """
                INSERT INTO messages (id, chat_id, seq, user_id, prompt, reply, model, state,
                    created_at, updated_at)
                SELECT id, id, 1, user_id, 'prompt', 'reply', '', 'done', 0, 0 FROM chats
                """)
            // What was written here is checkpointed first, and has left the gate.
            try await eventually { place.size(of: "-wal") == 0 }
            try await storage.write("DELETE FROM revocations")
            holds.startOver()
            try await storage.store.deleteGroup(group.id, by: owner.id, now: now)
            _ = try await storage.store.deleteUser(
                owner.id, handingGroupsTo: nil, closed(makeEvent()))
            // Of some hundred steps.
            for _ in 0..<30 { #expect(try await storage.store.sweepDeletions()) }
            #expect(try await storage.number("SELECT COUNT(*) AS number FROM chats") < 20_000)
            let longest = holds.longest
            #expect(longest <= 50, "\(longest) ms")
        }
    }

    // MARK: - Repair

    @Test(arguments: Engine.allCases)
    func `messages without a chat are found and removed`(on engine: Engine) async throws {
        try await withSome(1, engine) { storages in
            let storage = storages[0]
            let user = try await storage.addUser("asim").user
            let chat = makeChat(of: user.id)
            try await storage.store.create(chat)
            try await storage.addMessages(3, to: chat, of: user.id)
            try await storage.database.transaction { transaction in
                for number in 0..<450 {
                    try await transaction.send(
                        """
                        INSERT INTO messages (id, chat_id, seq, user_id, prompt, reply, model,
                            state, created_at, updated_at)
                        VALUES (\("\(number)"), \("\(number % 150 * 3)-lost"), \(number), '',
                            \(needle), '', '', 'done', 0, 0)
                        """)
                }
                for number in 0..<150 {
                    try await transaction.send(
                        """
                        INSERT INTO messages (id, chat_id, seq, user_id, prompt, reply, model,
                            state, created_at, updated_at)
                        VALUES (\("x\(number)"), \("x\(number)-lost"), 1, '', \(needle), '', '',
                            'done', 0, 0)
                        """)
                }
            }
            var found = 0
            var start: String? = ""
            var steps = 0
            while let from = start {
                let step = try await storage.store.markOrphans(from: from)
                found += step.chats
                start = step.rest
                steps += 1
            }
            #expect(found == 300 && steps == 2)
            #expect(try await storage.store.markOrphans(from: "").chats == 0, "they are marked")
            while try await !storage.lease.expire() {}
            #expect(try await storage.rows(holding: needle, on: engine) == 0)
            #expect(try await storage.number("SELECT COUNT(*) AS number FROM messages") == 3)
        }
    }
}
