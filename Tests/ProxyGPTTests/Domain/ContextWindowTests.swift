import ProxyGPT
import Testing

@Suite struct ContextWindowTests {
    private func message(
        _ seq: Int64, _ prompt: String = "prompt", _ reply: String = "reply",
        state: Message.State = .done, isOffRecord: Bool = false
    ) -> Message {
        let now = Timestamp(milliseconds: 0)
        return Message(
            id: Message.ID("m\(seq)"), chatID: Chat.ID("c"), userID: User.ID("u"), groupID: nil,
            seq: seq, prompt: prompt, reply: reply, model: "m", isOffRecord: isOffRecord,
            state: state, createdAt: now, updatedAt: now)
    }

    private func window(
        _ seqs: [Int64], version: Int64 = 7, limit: Int = 3, budget: Int = 1000
    ) -> ContextWindow {
        ContextWindow(
            version: version, newestFirst: seqs.reversed().map { message($0) }, limit: limit,
            budget: budget)
    }

    @Test func `turns come oldest first, a user's and an assistant's for each message`() {
        let window = ContextWindow(
            version: 1, newestFirst: [message(2, "p2", "r2"), message(1, "p1", "r1")], limit: 2,
            budget: 1000)
        #expect(
            window.turns(2) == [
                Turn(.user, "p1"), Turn(.assistant, "r1"), Turn(.user, "p2"),
                Turn(.assistant, "r2"),
            ])
        #expect(window.turns(1) == [Turn(.user, "p2"), Turn(.assistant, "r2")])
        #expect(window.turns(0).isEmpty)
    }

    @Test func `a window covers the read messages, and all once it reaches the beginning`() {
        #expect(window([1, 2, 3]).covers(3))
        #expect(!window([1, 2, 3]).covers(4))
        #expect(window([1, 2]).covers(1000), "three were asked for and two came")
    }

    @Test func `the oldest messages are left out as a whole where the budget is exceeded`() {
        // "prompt" and "reply" are two tokens each, and four for each turn: 12.
        let window = window([1, 2, 3], budget: 30)
        #expect(window.entries.map(\.seq) == [2, 3])
        #expect(window.covers(1000), "older ones would not fit either")
        #expect(self.window([1, 2, 3], budget: 11).entries.isEmpty)
    }

    @Test func `a message that ends takes the place of its prompt`() throws {
        let grown = try #require(window([2, 4]).adding(message(3), version: 8))
        #expect(grown.entries.map(\.seq) == [2, 3, 4])
        #expect(grown.version == 8)
        let last = try #require(grown.adding(message(9), version: 9))
        #expect(last.entries.map(\.seq) == [2, 3, 4, 9])
    }

    @Test func `a message that ends before a too large one is not added before it`() throws {
        let large = message(5, String(repeating: "word ", count: 500))
        let cold = ContextWindow(version: 7, newestFirst: [large], limit: 3, budget: 100)
        #expect(cold.entries.isEmpty && cold.adding(message(4), version: 8) == nil)
        let warm = try #require(window([1, 2], budget: 100).adding(large, version: 8))
        #expect(warm.entries.isEmpty && warm.adding(message(4), version: 9) == nil)
    }

    @Test func `a message of the window is not added twice`() throws {
        let same = try #require(window([2, 4]).adding(message(4), version: 8))
        #expect(same.entries.map(\.seq) == [2, 4])
    }

    @Test func `another change makes the window outdated`() {
        #expect(window([1, 2]).adding(message(3), version: 9) == nil)
        #expect(window([1, 2]).adding(message(3), version: 7) == nil)
    }

    @Test func `a message before the first entry cannot be added`() {
        #expect(window([5, 6]).adding(message(3), version: 8) == nil)
    }

    @Test func `failed, empty and unrecorded messages count in the version alone`() throws {
        for other in [
            message(3, state: .failed), message(3, "p", ""), message(3, isOffRecord: true),
            message(3, state: .streaming),
        ] {
            let window = try #require(window([1, 2]).adding(other, version: 8))
            #expect(window.entries.map(\.seq) == [1, 2])
            #expect(window.version == 8)
        }
        let stopped = try #require(window([1, 2]).adding(message(3, state: .stopped), version: 8))
        #expect(stopped.entries.map(\.seq) == [1, 2, 3])
    }

    @Test func `a growing window drops its oldest to keep the budget`() throws {
        let grown = try #require(window([1, 2], budget: 30).adding(message(3), version: 8))
        #expect(grown.entries.map(\.seq) == [2, 3])
        #expect(grown.covers(1000))
    }
}

@Suite struct ContextCacheTests {
    private func window(_ version: Int64, bytes: Int = 10, count: Int = 1) -> ContextWindow {
        let now = Timestamp(milliseconds: 0)
        let messages = (1...count).reversed().map { seq in
            Message(
                id: Message.ID("m"), chatID: Chat.ID("c"), userID: User.ID("u"), groupID: nil,
                seq: Int64(seq), prompt: String(repeating: "p", count: bytes), reply: "r",
                model: "m", state: .done, createdAt: now, updatedAt: now)
        }
        return ContextWindow(
            version: version, newestFirst: messages, limit: count, budget: 1_000_000)
    }

    @Test func `a stored window is returned, and an older one does not replace it`() async {
        let cache = MemoryContextCache()
        let chat = Chat.ID("chat")
        #expect(await cache.window(of: chat) == nil)
        await cache.keep(window(2), of: chat)
        await cache.keep(window(1), of: chat)
        #expect(await cache.window(of: chat)?.version == 2)
        await cache.keep(window(3), of: chat)
        #expect(await cache.window(of: chat)?.version == 3)
        await cache.keep(window(3, count: 5), of: chat)
        await cache.keep(window(3), of: chat)
        #expect(await cache.window(of: chat)?.entries.count == 5, "it reaches further back")
    }

    @Test func `memory is bounded, and the least recently used window is removed first`() async {
        let cache = MemoryContextCache(limit: 100_000)
        for index in 0..<40 {
            await cache.keep(window(1, bytes: 5000), of: Chat.ID("\(index)"))
            _ = await cache.window(of: Chat.ID("0"))
            #expect(cache.size <= 100_000)
        }
        #expect(await cache.window(of: Chat.ID("0")) != nil)
        #expect(await cache.window(of: Chat.ID("1")) == nil)
        #expect(await cache.window(of: Chat.ID("39")) != nil)
    }

    @Test func `a window that would take the place of all others is not kept`() async {
        let cache = MemoryContextCache(limit: 100_000)
        await cache.keep(window(1, bytes: 90_000), of: Chat.ID("large"))
        #expect(await cache.window(of: Chat.ID("large")) == nil)
        #expect(cache.size == 0)
    }
}

@Suite struct TokenEstimateTests {
    @Test func `words, digits, signs, spaces and other scripts have their estimates`() {
        let prices = [
            "": 0, "a": 1, "word": 1, "words": 2, "two words": 3, "12": 1, "1234": 2, "a.b": 3,
            "a  b": 3, "\n": 0, "\n\n": 1, "Привет": 6, "日本": 3, "é": 1, "😀": 2,
        ]
        for (text, tokens) in prices {
            #expect(TokenEstimate.tokens(in: text) == tokens, "of \"\(text)\"")
        }
    }
}
