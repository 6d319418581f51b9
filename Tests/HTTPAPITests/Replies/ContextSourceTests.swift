import Formats
@testable import Gateway
import ProxyGPT
import SQLStorage
import Synchronization
import Testing

@testable import HTTPAPI

/// A store of messages that counts how often it is asked for a chat's past.
private final class CountingMessages: MessageStore {
    let store: any Store
    private let count = Atomic(0)

    init(_ store: any Store) {
        self.store = store
    }

    var reads: Int { count.load(ordering: .relaxed) }

    func context(
        of chat: Chat.ID, below seq: Int64, limit: Int
    ) async throws -> (messages: [Message], version: Int64) {
        count.add(1, ordering: .relaxed)
        return try await store.context(of: chat, below: seq, limit: limit)
    }

    func begin(
        _ new: NewMessage, limit: Int, model: @escaping @Sendable (String) -> String
    ) async throws -> StoredPrompt {
        try await store.begin(new, limit: limit, model: model)
    }

    func finish(
        _ id: Message.ID, _ end: ReplyEnd, now: Timestamp
    ) async throws -> (message: Message, contextVersion: Int64?)? {
        try await store.finish(id, end, now: now)
    }

    func messages(of chat: Chat.ID, _ page: Page) async throws -> Listing<Message> {
        try await store.messages(of: chat, page)
    }

    func message(_ id: Message.ID, in chat: Chat.ID) async throws -> Message? {
        try await store.message(id, in: chat)
    }

    func requestStop(
        of id: Message.ID, in chat: Chat.ID, by user: User.ID
    ) async throws -> Message {
        try await store.requestStop(of: id, in: chat, by: user)
    }

    func runningReplies() async throws -> [Message.ID: Bool] {
        try await store.runningReplies()
    }
}

@Suite(.timeLimit(.minutes(5))) struct ContextSourceTests {
    /// A worker as far as context is concerned.
    private struct Side {
        let messages: CountingMessages
        let source: ContextSource

        init(_ stage: Stage) {
            messages = CountingMessages(stage.storage.store)
            source = ContextSource(store: messages, cache: MemoryContextCache(), budget: 8000)
        }

        /// Stores a prompt, takes its context and ends its reply; returns what the context was.
        func say(_ word: String, in chat: Chat.ID, as user: User.ID, limit: Int = 10) async throws
            -> [String]
        {
            guard let begun = try await begin(word, in: chat, as: user) else { return ["known"] }
            let words = try await context(of: begun, limit: limit)
            if let end = try await end(begun.message) {
                await source.note(end.message, version: end.contextVersion)
            }
            return words
        }

        func begin(
            _ word: String, in chat: Chat.ID, as user: User.ID
        ) async throws -> (message: Message, version: Int64)? {
            let new = NewMessage(
                id: Message.ID(word), chatID: chat, userID: user, prompt: word, isOffRecord: false,
                state: .pending, idempotencyKey: nil, createdAt: Timestamp(milliseconds: 0))
            guard
                case .new(let message, let version) = try await messages.begin(
                    new, limit: 8, model: { $0 })
            else { return nil }
            return (message, version)
        }

        func context(
            of begun: (message: Message, version: Int64), limit: Int = 10
        ) async throws -> [String] {
            try await source.turns(before: begun.message, limit: limit, version: begun.version)
                .filter { $0.role == .user }.map(\.content)
        }

        func end(_ message: Message) async throws -> (message: Message, contextVersion: Int64?)? {
            try await messages.finish(
                message.id, ReplyEnd(.done, reply: message.prompt.uppercased()),
                now: Timestamp(milliseconds: 0))
        }
    }

    /// A user with a chat, and two workers over the same store.
    private func sides(on stage: Stage) async throws -> (User.ID, Chat.ID, here: Side, there: Side)
    {
        let token = try await stage.user()
        let read = await stage.get("/user/read", token: token)
        let user = User.ID(try #require(read.json?["id"]?.stringValue))
        let created = await stage.post("/chat/create", token: token)
        let chat = Chat.ID(try #require(created.json?["id"]?.stringValue))
        return (user, chat, Side(stage), Side(stage))
    }

    @Test func `a warm window asks nothing, another worker's message asks once`() async throws {
        let stage = try Stage()
        let (user, chat, here, there) = try await sides(on: stage)
        #expect(try await here.say("a", in: chat, as: user) == [])
        #expect(here.messages.reads == 1)
        #expect(try await here.say("b", in: chat, as: user) == ["a"])
        #expect(try await here.say("c", in: chat, as: user) == ["a", "b"])
        #expect(here.messages.reads == 1, "its own messages it knows")
        #expect(try await there.say("d", in: chat, as: user) == ["a", "b", "c"])
        #expect(try await here.say("e", in: chat, as: user) == ["a", "b", "c", "d"])
        #expect(here.messages.reads == 2)
        #expect(try await here.say("f", in: chat, as: user, limit: 0) == [])
        #expect(try await here.say("g", in: chat, as: user, limit: 2) == ["e", "f"])
        #expect(here.messages.reads == 2)
    }

    @Test func `an end that is told late leaves out nothing that others have said since`()
        async throws
    {
        let stage = try Stage()
        let (user, chat, here, there) = try await sides(on: stage)
        #expect(try await here.say("a", in: chat, as: user) == [])
        // The commit of this end is done, its answer lost.
        let late = try #require(try await here.begin("b", in: chat, as: user))
        _ = try await here.end(late.message)
        // Here the chat is known with it, elsewhere it goes on.
        let running = try #require(try await here.begin("c", in: chat, as: user))
        #expect(try await here.context(of: running) == ["a", "b"])
        #expect(try await there.say("d", in: chat, as: user) == ["a", "b"])
        let again = try #require(try await here.end(late.message))
        await here.source.note(again.message, version: again.contextVersion)
        #expect(try await here.say("e", in: chat, as: user) == ["a", "b", "d"])
    }
}
