internal import EventLoop
internal import ProxyGPT
internal import Synchronization
internal import TestSupport
internal import Testing

@testable internal import SQLStorage

@Suite struct MessageTests {
    /// A user, its chat and the storage of one test.
    private struct Scene {
        let storage: SQLStorage
        let user: User
        let chat: Chat

        init(_ storage: SQLStorage) async throws {
            self.storage = storage
            user = try await storage.addUser("asim").user
            chat = makeChat(of: user.id)
            try await storage.store.create(chat)
        }

        func begin(
            _ prompt: String = "prompt", key: String? = nil, limit: Int = 8,
            by other: User.ID? = nil,
            in chat: Chat.ID? = nil, isOffRecord: Bool = false
        ) async throws -> StoredPrompt {
            try await storage.store.begin(
                NewMessage(
                    id: Message.ID(ids.next()), chatID: chat ?? self.chat.id,
                    userID: other ?? user.id, prompt: prompt, isOffRecord: isOffRecord,
                    state: isOffRecord ? .done : .pending, idempotencyKey: key, createdAt: now),
                limit: limit, model: { "resolved " + $0 })
        }

        func new(_ prompt: String = "prompt") async throws -> (Message, version: Int64) {
            guard case .new(let message, let version) = try await begin(prompt) else {
                throw Impatience()
            }
            return (message, version)
        }

        @discardableResult
        func finish(_ message: Message, _ reply: String = "reply") async throws -> Int64? {
            try await storage.store.finish(
                message.id, ReplyEnd(.done, reply: reply), now: now)?.contextVersion
        }
    }

    @Test(arguments: Engine.allCases)
    func `a prompt is stored with its sequence number, model and state`(
        on engine: Engine
    ) async throws {
        let place = try await Place(engine)
        try await place.with { storage in
            let scene = try await Scene(storage)
            let (first, version) = try await scene.new("one")
            #expect(first.seq == 1 && first.state == .pending && version == 0)
            #expect(first.model == "resolved gpt-3")
            let stored = try await storage.store.message(first.id, in: scene.chat.id)
            #expect(stored == first)
            #expect(try await scene.new("two").0.seq == 2)
            #expect(try await scene.finish(first) == 1)
            #expect(try await scene.new("three").version == 1)
        }
    }

    @Test(arguments: Engine.allCases)
    func `a stranger's prompt leaves nothing`(
        on engine: Engine
    ) async throws {
        let place = try await Place(engine)
        try await place.with { storage in
            let scene = try await Scene(storage)
            let other = try await storage.addUser("other").user
            await #expect(throws: Failure.notFound("chat")) {
                _ = try await scene.begin(by: other.id)
            }
            #expect(try await storage.number("SELECT COUNT(*) AS number FROM messages") == 0)
            #expect(
                try await storage.number("SELECT last_message_seq AS number FROM chats") == 0)
        }
    }

    @Test(arguments: Engine.allCases)
    func `an end is written once, by the process that runs the reply`(
        on engine: Engine
    ) async throws {
        let place = try await Place(engine)
        try await place.with { storage in
            let scene = try await Scene(storage)
            let (message, _) = try await scene.new()
            let other = try await place.open()
            #expect(
                try await other.store.finish(
                    message.id, ReplyEnd(.failed, reply: ""), now: now) == nil)
            await other.close()
            let usage = Usage(promptTokens: 3, completionTokens: 4)
            let failure = ReplyFailure(.upstreamError, "It broke.")
            let end = ReplyEnd(.failed, reply: "half", failure: failure, usage: usage)
            let ended = try await storage.store.finish(message.id, end, now: now)?.message
            #expect(ended?.state == .failed && ended?.reply == "half")
            #expect(ended?.failure == failure && ended?.usage == usage)
            #expect(try await scene.finish(message) == nil, "it has ended")
            let again = try await storage.store.finish(message.id, end, now: now)
            #expect(
                again?.message == ended, "the same end is told again: the first answer may be lost")
            #expect(again?.contextVersion == nil, "others may have ended since")
        }
    }

    @Test(arguments: Engine.allCases)
    func `a reply cannot bring a deleted chat back`(
        on engine: Engine
    ) async throws {
        let place = try await Place(engine)
        try await place.with { storage in
            let scene = try await Scene(storage)
            try await storage.addMessages(600, to: scene.chat, of: scene.user.id)
            let (message, _) = try await scene.new()
            try await storage.store.deleteChat(scene.chat.id, by: scene.user.id, now: now)
            #expect(try await storage.store.runningReplies().isEmpty)
            #expect(try await scene.finish(message) == nil)
        }
    }

    @Test(arguments: Engine.allCases)
    func `the same key is the same message, another prompt is a conflict`(
        on engine: Engine
    ) async throws {
        let place = try await Place(engine)
        try await place.with { storage in
            let scene = try await Scene(storage)
            guard case .new(let first, _) = try await scene.begin("one", key: "k"),
                case .known(let again) = try await scene.begin("one", key: "k")
            else {
                Issue.record("the key was not recognized")
                return
            }
            #expect(first == again)
            let refusal = await #expect(throws: Failure.self) {
                _ = try await scene.begin("two", key: "k")
            }
            #expect(refusal?.code == .conflict)
            #expect(try await storage.number("SELECT COUNT(*) AS number FROM messages") == 1)
        }
    }

    @Test(arguments: Engine.allCases)
    func `a user's running replies are limited, in all processes together`(
        on engine: Engine
    ) async throws {
        let place = try await Place(engine)
        try await place.with { storage in
            let scene = try await Scene(storage)
            let (first, _) = try await scene.new()
            let refusal = await #expect(throws: Failure.self) {
                _ = try await scene.begin(limit: 1)
            }
            #expect(refusal?.code == .rateLimited && refusal?.retryAfter == 1)
            _ = try await scene.begin(limit: 1, isOffRecord: true)
            try await scene.finish(first)
            _ = try await scene.begin(limit: 1)
        }
    }

    @Test(arguments: Engine.allCases)
    func `context is the answered messages on the record before the prompt`(
        on engine: Engine
    )
        async throws
    {
        let place = try await Place(engine)
        try await place.with { storage in
            let scene = try await Scene(storage)
            let store = storage.store
            let done = try await scene.new("done").0
            let stopped = try await scene.new("stopped").0
            let failed = try await scene.new("failed").0
            let empty = try await scene.new("empty").0
            _ = try await scene.begin("secret", isOffRecord: true)
            let running = try await scene.new("running").0
            let late = try await scene.new("late").0
            try await scene.finish(done)
            _ = try await store.finish(stopped.id, ReplyEnd(.stopped, reply: "ha"), now: now)
            _ = try await store.finish(failed.id, ReplyEnd(.failed, reply: "fa"), now: now)
            try await scene.finish(empty, "")
            try await scene.finish(late)
            let all = try await store.context(of: scene.chat.id, below: running.seq, limit: 10)
            #expect(all.messages.map(\.prompt) == ["stopped", "done"])
            #expect(all.version == 5)
            let one = try await store.context(of: scene.chat.id, below: .max, limit: 1)
            #expect(one.messages.map(\.prompt) == ["late"])
            let none = try await store.context(of: scene.chat.id, below: 1, limit: 10)
            #expect(none.messages.isEmpty && none.version == 5)
        }
    }

    @Test(arguments: Engine.allCases)
    func `a stop is requested by the prompt's author or the chat's owner`(
        on engine: Engine
    ) async throws {
        let place = try await Place(engine)
        try await place.with { storage in
            let scene = try await Scene(storage)
            let store = storage.store
            let member = try await storage.addUser("member").user
            let stranger = try await storage.addUser("stranger").user
            try await store.addUser(
                UserReference("member"), to: scene.chat.id, by: scene.user.id, now: now)
            let (message, _) = try await scene.new()
            func stop(_ id: Message.ID, _ user: User.ID) async throws {
                _ = try await store.requestStop(of: id, in: scene.chat.id, by: user)
            }
            await #expect(throws: Failure.notFound("chat")) {
                try await stop(message.id, stranger.id)
            }
            let forbidden = await #expect(throws: Failure.self) {
                try await stop(message.id, member.id)
            }
            #expect(forbidden?.code == .forbidden)
            let absent = await #expect(throws: Failure.self) {
                try await stop(Message.ID("none"), member.id)
            }
            #expect(absent?.parameter == "message_id")
            #expect(try await store.runningReplies() == [message.id: false])
            try await stop(message.id, scene.user.id)
            #expect(try await store.runningReplies() == [message.id: true])
        }
    }

    @Test(arguments: Engine.allCases)
    func `replies of a dead process are closed as failed, and reported`(
        on engine: Engine
    ) async throws {
        let place = try await Place(engine)
        let clock = TestClock()
        let dead = try await place.open(process: "dead")
        let living = try await place.open(clock: clock, process: "living")
        try await dead.lease.start()
        try await living.lease.start()
        let scene = try await Scene(dead)
        let (message, _) = try await scene.new()
        let told = Told()
        await told.listen(to: living.lease)
        for seconds: Int64 in [10, 6] {
            clock.advance(seconds: seconds)
            try await living.lease.renew()
        }
        let closed = try await living.store.message(message.id, in: scene.chat.id)
        #expect(closed?.state == .failed && closed?.failure?.code == .unavailable)
        #expect(told.messages == [closed])
        #expect(try await living.number("SELECT context_version AS number FROM chats") == 1)
        #expect(try await scene.finish(message) == nil, "it was only paused, and comes too late")
        for storage in [dead, living] { await storage.close() }
    }

    @Test(arguments: Engine.allCases)
    func `a page ends early where its texts are long, and has at least one message`(
        on engine: Engine
    )
        async throws
    {
        let place = try await Place(engine)
        try await place.with { storage in
            let scene = try await Scene(storage)
            let third = String(repeating: "x", count: Message.pageSize / 3)
            try await storage.addMessages(200, to: scene.chat, of: scene.user.id)
            let large = makeChat(of: scene.user.id)
            try await storage.store.create(large)
            try await storage.addMessages(5, to: large, of: scene.user.id, prompt: third)
            func page(_ chat: Chat, _ place: Page.Place = .newest) async throws -> ([Int64], Bool) {
                let page = Page(limit: 150, place: place)
                let listing = try await storage.store.messages(of: chat.id, page)
                return (listing.elements.map(\.seq), listing.hasMore)
            }
            #expect(try await page(scene.chat) == (Array(51...200), true))
            #expect(try await page(large) == ([4, 5], true))
            let first = try await storage.store.messages(of: large.id, Page(limit: 5))
            let anchor = try #require(first.elements.first).id.text
            #expect(try await page(large, .before(anchor)) == ([2, 3], true))
            #expect(try await page(large, .after(anchor)) == ([5], false))
            let huge = makeChat(of: scene.user.id)
            try await storage.store.create(huge)
            try await storage.addMessages(
                2, to: huge, of: scene.user.id, prompt: third + third + third)
            #expect(try await page(huge) == ([2], true))
        }
    }

    @Test(arguments: Engine.allCases)
    func `a reply that a process ended shortly before it died is reported, and nothing older`(
        on engine: Engine
    )
        async throws
    {
        let place = try await Place(engine)
        let clock = TestClock()
        let dead = try await place.open(clock: clock, process: "dead")
        let living = try await place.open(clock: clock, process: "living")
        let told = Told()
        await told.listen(to: living.lease)
        for storage in [dead, living] { try await storage.lease.start() }
        let scene = try await Scene(dead)
        let (old, recent) = (try await scene.new().0, try await scene.new().0)
        let end = ReplyEnd(.done, reply: "reply")
        _ = try await dead.store.finish(old.id, end, now: clock.now().adding(seconds: -2))
        let stored = try await dead.store.finish(recent.id, end, now: clock.now())
        for seconds: Int64 in [10, 6, 6] {
            clock.advance(seconds: seconds)
            try await living.lease.renew()
        }
        #expect(told.messages == [stored?.message])
        for storage in [dead, living] { await storage.close() }
    }

    @Test func `history costs the same whether a chat has a hundred or ten thousand messages`()
        async throws
    {
        let place = try Place()
        try await place.with { storage in
            let scene = try await Scene(storage)
            let store = storage.store
            let large = makeChat(of: scene.user.id)
            try await store.create(large)
            try await storage.addMessages(100, to: scene.chat, of: scene.user.id)
            try await storage.addMessages(10_000, to: large, of: scene.user.id)
            let reader = try #require(storage.database as? SQLiteDatabase).reader
            func cost(_ chat: Chat) async throws -> (steps: Int, scanned: Int) {
                _ = await reader.takeCost()
                _ = try await store.access(to: chat.id, of: scene.user.id)
                _ = try await store.users(of: chat.id)
                _ = try await store.messages(of: chat.id, Page(limit: 50))
                _ = try await store.context(of: chat.id, below: .max, limit: 10)
                return await reader.takeCost()
            }
            let few = try await cost(scene.chat)
            let many = try await cost(large)
            // What is scanned is the page alone, once it has been read.
            #expect(many.scanned == few.scanned && many.scanned <= 10)
            #expect(many.steps * 2 <= few.steps * 3, "\(many.steps) against \(few.steps)")
        }
    }
}

/// Hears of replies that were closed.
final class Told: Sendable {
    private let all = Mutex<[Message]>([])

    var messages: [Message] { all.withLock { $0 } }

    @EventLoop func listen(to lease: ProcessLease) {
        lease.replyWasClosed = { message in self.all.withLock { $0.append(message) } }
    }
}
