internal import ProxyGPT
internal import TestSupport
internal import Testing

@testable internal import SQLStorage

/// Rules that hold however many act at once, in one process or in several.
@Suite struct RaceTests {
    private func withTwo(
        _ engine: Engine, _ body: ([SQLStorage]) async throws -> Void
    ) async throws {
        let place = try await Place(engine)
        let storages = [try await place.open(), try await place.open()]
        do {
            try await body(storages)
        } catch {
            for storage in storages { await storage.close() }
            throw error
        }
        for storage in storages { await storage.close() }
    }

    private func prompt(
        _ storage: SQLStorage, _ chat: Chat.ID, _ user: User.ID, key: String? = nil,
        limit: Int = 8
    ) async throws -> StoredPrompt {
        try await storage.store.begin(
            NewMessage(
                id: Message.ID(ids.next()), chatID: chat, userID: user, prompt: "prompt",
                isOffRecord: false, state: .pending, idempotencyKey: key, createdAt: now),
            limit: limit, model: { $0 })
    }

    @Test(arguments: Engine.allCases)
    func `of prompts in many chats at once as many are taken as may run`(on engine: Engine)
        async throws
    {
        try await withTwo(engine) { storages in
            let user = try await storages[0].addUser("asim").user
            let chats = (0..<16).map { _ in makeChat(of: user.id) }
            for chat in chats { try await storages[0].store.create(chat) }
            let results = await concurrently(16) { index in
                try await prompt(storages[index % 2], chats[index].id, user.id, limit: 4)
            }
            #expect(results.filter { (try? $0.get()) != nil }.count == 4)
            for case .failure(let error) in results {
                #expect((error as? Failure)?.code == .rateLimited, "\(error)")
            }
        }
    }

    @Test(arguments: Engine.allCases)
    func `processes that begin at once are of one installation`(on engine: Engine) async throws {
        try await withTwo(engine) { storages in
            let results = await concurrently(16) { index in
                let name = "00000000000000" + String(10 + index)
                let new = try #require(
                    Installation(name: name, secret: [UInt8](repeating: 1, count: 32)))
                return try await storages[index % 2].installation(orElse: new)
            }
            let found = try results.map { try $0.get() }
            #expect(found.allSatisfy { $0 == found[0] })
            let count: SQL = "SELECT COUNT(*) AS number FROM installation"
            #expect(try await storages[0].number(count) == 1)
        }
    }

    @Test(arguments: Engine.allCases)
    func `one idempotency key is one message, in one chat or in several`(on engine: Engine)
        async throws
    {
        try await withTwo(engine) { storages in
            let user = try await storages[0].addUser("asim").user
            let chats = (0..<4).map { _ in makeChat(of: user.id) }
            for chat in chats { try await storages[0].store.create(chat) }
            for round in 0..<10 {
                let results = await concurrently(8) { index in
                    try await prompt(
                        storages[index % 2], chats[index / 2].id, user.id, key: "k\(round)",
                        limit: 1000)
                }
                for case .failure(let error) in results {
                    #expect((error as? Failure)?.code == .conflict, "\(error)")
                }
                #expect(
                    try await storages[0].number(
                        "SELECT COUNT(*) AS number FROM messages WHERE idempotency_key = \("k\(round)")"
                    ) == 1)
            }
        }
    }

    @Test(arguments: Engine.allCases)
    func `no session won with an old password outlives the password`(on engine: Engine)
        async throws
    {
        try await withTwo(engine) { storages in
            let (user, mine) = try await storages[0].addUser("asim")
            for round in 0..<10 {
                let old = round == 0 ? "hash of asim" : "hash \(round)"
                let results = await concurrently(6) { index in
                    index == 3
                        ? try await storages[0].store.replacePassword(
                            of: user.id, expected: old, with: "hash \(round + 1)",
                            keeping: mine.session.id, now: now)
                        : try await storages[index % 2].store.add(
                            makeSession(of: user.id), ifPasswordHashIs: old)
                }
                for result in results { _ = try result.get() }
                while try await storages[0].store.sweepDeletions() {}
                #expect(
                    try await storages[1].number("SELECT COUNT(*) AS number FROM sessions") == 1)
            }
        }
    }

    @Test(arguments: Engine.allCases)
    func `a chat that is made while its group is deleted is refused, or deleted with it`(
        on engine: Engine
    ) async throws {
        try await withTwo(engine) { storages in
            let user = try await storages[0].addUser("asim").user
            for _ in 0..<10 {
                let group = makeGroup(of: user.id)
                try await storages[0].store.create(group)
                let results = await concurrently(6) { index in
                    if index == 3 {
                        try await storages[0].store.deleteGroup(group.id, by: user.id, now: now)
                    } else {
                        let chat = makeChat(of: user.id, in: group.id)
                        try await storages[index % 2].store.create(chat)
                        _ = try await prompt(
                            storages[index % 2], chat.id, user.id, limit: 1000)
                    }
                }
                for case .failure(let error) in results {
                    #expect((error as? Failure)?.code == .notFound, "\(error)")
                }
            }
            while try await storages[0].store.sweepDeletions() {}
            #expect(try await storages[0].number("SELECT COUNT(*) AS number FROM chats") == 0)
            #expect(
                try await storages[0].number("SELECT COUNT(*) AS number FROM messages") == 0,
                "no message is left without a chat")
        }
    }

    @Test(arguments: Engine.allCases)
    func `a new owner of a group is one of its members`(on engine: Engine) async throws {
        try await withTwo(engine) { storages in
            let anna = try await storages[0].addUser("anna").user
            let ben = try await storages[0].addUser("ben").user
            for _ in 0..<10 {
                let group = makeGroup(of: anna.id)
                try await storages[0].store.create(group)
                try await storages[0].store.addMembers(
                    [UserReference(ben.id.text)], to: group.id, by: anna.id, now: now)
                _ = await concurrently(2) { index in
                    if index == 0 {
                        _ = try await storages[0].store.update(
                            group.id, GroupChange(owner: UserReference(ben.id.text)), by: anna.id,
                            now: now)
                    } else {
                        try await storages[1].store.removeMembers(
                            [UserReference(ben.id.text)], from: group.id, by: ben.id, now: now)
                    }
                }
                let orphans = try await storages[0].number(
                    """
                    SELECT COUNT(*) AS number FROM groups WHERE NOT EXISTS (
                        SELECT 1 FROM group_members
                        WHERE group_id = groups.id AND user_id = owner_id)
                    """)
                #expect(orphans == 0)
            }
        }
    }

    @Test(arguments: Engine.allCases)
    func `replies that end while their chat goes end one way or the other`(on engine: Engine)
        async throws
    {
        try await withTwo(engine) { storages in
            let user = try await storages[0].addUser("asim").user
            for _ in 0..<10 {
                let chat = makeChat(of: user.id)
                try await storages[0].store.create(chat)
                var messages: [Message] = []
                for _ in 0..<4 {
                    let stored = try await prompt(storages[0], chat.id, user.id, limit: 1000)
                    if case .new(let message, _) = stored { messages.append(message) }
                }
                let running = messages
                let results = await concurrently(5) { index in
                    if index == 4 {
                        try await storages[1].store.deleteChat(chat.id, by: user.id, now: now)
                    } else {
                        _ = try await storages[0].store.finish(
                            running[index].id, ReplyEnd(.done, reply: "reply"), now: now)
                    }
                }
                for result in results { try result.get() }
            }
            // The deletion itself removes as much as a few milliseconds allow.
            while try await storages[0].store.sweepDeletions() {}
            #expect(try await storages[0].number("SELECT COUNT(*) AS number FROM messages") == 0)
        }
    }
}
