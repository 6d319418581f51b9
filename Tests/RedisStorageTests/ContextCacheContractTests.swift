internal import EventLoop
internal import ProxyGPT
internal import TestSupport
internal import Testing

@testable internal import RedisStorage

/// What every context cache does, wherever it keeps its windows.
@Suite struct ContextCacheContractTests {
    enum Kind: CaseIterable {
        case memory, redis
    }

    private let chat = Chat.ID("chat")

    private func window(_ version: Int64, bytes: Int = 10, count: Int = 1) -> ContextWindow {
        let now = Timestamp(milliseconds: 0)
        let messages = (1...count).reversed().map { seq in
            Message(
                id: Message.ID("m"), chatID: Chat.ID("c"), userID: User.ID("u"), groupID: nil,
                seq: Int64(seq), prompt: String(repeating: "p", count: bytes), reply: "r",
                model: "m", state: .done, createdAt: now, updatedAt: now)
        }
        return ContextWindow(
            version: version, newestFirst: messages, limit: count, budget: 100_000_000)
    }

    private func with(
        _ kind: Kind, _ body: (any ContextCache) async throws -> Void
    ) async throws {
        switch kind {
        case .memory: try await body(MemoryContextCache())
        case .redis:
            let server = try await RedisServer()
            let peer = try await server.peer()
            try await body(peer.cache)
            await peer.close()
        }
    }

    @Test(arguments: Kind.allCases)
    func `a kept window comes back as it was`(kind: Kind) async throws {
        try await with(kind) { cache in
            #expect(await cache.window(of: chat) == nil)
            let window = window(7, count: 20)
            await cache.keep(window, of: chat)
            #expect(await cache.window(of: chat) == window)
            #expect(await cache.window(of: Chat.ID("other")) == nil)
        }
    }

    @Test(arguments: Kind.allCases)
    func `an older window does not replace a newer one`(kind: Kind) async throws {
        try await with(kind) { cache in
            await cache.keep(window(2), of: chat)
            await cache.keep(window(1), of: chat)
            #expect(await cache.window(of: chat)?.version == 2)
            await cache.keep(window(10), of: chat)
            await cache.keep(window(9), of: chat)
            #expect(await cache.window(of: chat)?.version == 10)
        }
    }

    @Test(arguments: Kind.allCases)
    func `of one version the window that reaches further back stays`(kind: Kind) async throws {
        try await with(kind) { cache in
            await cache.keep(window(3), of: chat)
            await cache.keep(window(3, count: 12), of: chat)
            await cache.keep(window(3, count: 5), of: chat)
            #expect(await cache.window(of: chat)?.entries.count == 12)
        }
    }

    @Test(arguments: Kind.allCases)
    func `a window of too many bytes is not kept`(kind: Kind) async throws {
        try await with(kind) { cache in
            await cache.keep(window(1, bytes: 9 * 1024 * 1024), of: chat)
            #expect(await cache.window(of: chat) == nil)
        }
    }

    @Test(arguments: Kind.allCases)
    func `a chat that is forgotten has no window until one is kept again`(kind: Kind) async throws {
        try await with(kind) { cache in
            let other = Chat.ID("other")
            await cache.forget(chat)
            for chat in [chat, other] { await cache.keep(window(7), of: chat) }
            await cache.forget(chat)
            #expect(await cache.window(of: chat) == nil)
            #expect(await cache.window(of: other) != nil)
            await cache.keep(window(1), of: chat)
            #expect(await cache.window(of: chat)?.version == 1)
        }
    }

    // MARK: - Redis alone

    @Test func `a window that one process writes is read by another one`() async throws {
        let server = try await RedisServer()
        let one = try await server.peer()
        let two = try await server.peer()
        await one.cache.keep(window(4), of: chat)
        #expect(await one.cache.window(of: chat) == window(4))
        #expect(await two.cache.window(of: chat) == window(4))
        let time = try #require(
            try await server.ask("TTL", "test:context:100000000:chat").number)
        #expect(time > 80_000 && time <= 86_400)
        await one.close()
        await two.close()
    }

    @Test func `windows of another budget are not read`() async throws {
        let server = try await RedisServer()
        let peer = try await server.peer()
        let other = RedisContextCache(
            peer.client, prefix: "test:", seal: Seal(testKeys.windows), budget: 5)
        await peer.cache.keep(window(4), of: chat)
        await other.keep(window(5), of: chat)
        #expect(await other.window(of: chat) == nil)
        #expect(await peer.cache.window(of: chat)?.version == 4)
        await peer.close()
    }

    @Test(arguments: ["", "rubbish", "1 1\n", "1 1\nx", "99999999999999999999 1\nx"])
    func `an invalid window is ignored, and is replaced`(value: String) async throws {
        try await expectReplaced { server in
            try await server.ask("SET", "test:context:100000000:chat", value)
        }
    }

    @Test func `a key of another type is no window, and is replaced`() async throws {
        try await expectReplaced { server in
            try await server.ask("HSET", "test:context:100000000:chat", "a", "b")
        }
        // Also in a directory that no process has opened before.
        let server = try await RedisServer()
        let peer = try await server.peer()
        try await server.ask("HSET", "test:context:100000000:chat", "a", "b")
        await peer.cache.keep(window(1), of: chat)
        #expect(await peer.cache.window(of: chat) == window(1))
        await peer.close()
    }

    /// Writes a window where another process has written.
    private func expectReplaced(_ write: (RedisServer) async throws -> Void) async throws {
        let server = try await RedisServer()
        let peer = try await server.peer()
        try await write(server)
        #expect(await peer.cache.window(of: chat) == nil)
        await peer.cache.keep(window(1), of: chat)
        #expect(await peer.cache.window(of: chat) == window(1))
        #expect(await peer.client.isReady)
        await peer.close()
    }

    @Test func `while Redis is away there are no windows, and no caller waits for one`()
        async throws
    {
        let server = try await RedisServer()
        let peer = try await server.peer()
        await peer.cache.keep(window(4), of: chat)
        server.kill()
        try await peer.isReady(false)
        #expect(await peer.cache.window(of: chat) == nil)
        await peer.cache.keep(window(5), of: chat)
        try await server.start()
        try await peer.isReady()
        #expect(await peer.cache.window(of: chat) == nil)
        await peer.cache.keep(window(6), of: chat)
        #expect(await peer.cache.window(of: chat) == window(6))
        await peer.close()
    }

    @Test func `a Redis that does not answer costs a prompt one budget, not its reply`()
        async throws
    {
        let server = try await RedisServer()
        let peer = try await server.peer(
            client: RedisClient.Tuning(budget: 50, connectTimeout: 10_000))
        try await peer.isReady()
        await peer.cache.keep(window(4), of: chat)
        server.pause()
        // As a prompt does: one question, then what it has found out.
        for _ in 0..<10 {
            #expect(await peer.cache.window(of: chat) == nil)
            await peer.cache.keep(window(5), of: chat)
        }
        #expect(await !peer.client.isReady)
        server.resume()
        try await peer.isReady()
        await peer.close()
    }
}
