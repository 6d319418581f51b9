internal import EventLoop
internal import ProxyGPT
internal import TestSupport
internal import Testing

@testable internal import RedisStorage

/// The client of Redis: authentication, a Redis that is slow or gone, and its return.
@Suite struct RedisClientTests {
    private func bytes(_ words: String...) -> [[UInt8]] { words.map { Array($0.utf8) } }

    // MARK: - Getting in

    @Test func `a password lets in, and so does a user with a password`() async throws {
        let server = try await RedisServer(["--requirepass", "pass word/1"])
        try await server.ask(
            "ACL", "SETUSER", "us:er", "on", ">se@cret", "~*", "&*", "+@all",
            credentials: ":pass%20word%2F1@")
        for credentials in ["pass%20word%2F1@", ":pass%20word%2F1@", "us%3Aer:se%40cret@"] {
            let client = try await server.client(server.address(credentials))
            #expect(await client.isReady, "\(credentials)")
            #expect(try await client.ask(bytes("ECHO", "hello")).text == "hello")
            await client.stop()
        }
    }

    @Test(arguments: ["wrong-canary@", "user-canary:wrong-canary@", ""])
    func `a wrong password leaves Redis away, and no log has it`(credentials: String) async throws {
        let server = try await RedisServer(["--requirepass", "right-canary"])
        let journal = LogJournal()
        let peer = await Peer(try server.address(credentials), logger: journal.logger)
        #expect(await !peer.client.isReady)
        await #expect(throws: RedisError.unavailable) { try await peer.client.ask(bytes("PING")) }
        #expect(journal.text.contains(credentials.isEmpty ? "NOAUTH" : "WRONGPASS"))
        #expect(!journal.text.contains("canary"))
        await peer.close()
    }

    @Test func `a database that there is not leaves Redis away`() async throws {
        let server = try await RedisServer()
        let journal = LogJournal()
        let peer = await Peer(try server.address(database: 99), logger: journal.logger)
        #expect(await !peer.client.isReady)
        #expect(journal.text.contains("SELECT"))
        await peer.close()
    }

    @Test func `the database of the address is the one that is used`() async throws {
        let server = try await RedisServer()
        try await server.ask("SET", "key", "three", database: 3)
        #expect(try await server.ask("GET", "key", database: 3).text == "three")
        #expect(try await server.ask("GET", "key") == .nothing)
    }

    @Test func `a name is looked up, and each of its addresses is tried`() async throws {
        // A port that is free until the server starts.
        let port = freePort()
        let server = try await RedisServer(["--port", "\(port)", "--bind", "127.0.0.1"])
        let client = try await server.client(RedisAddress("redis://localhost:\(port)/2"))
        #expect(await client.isReady)
        #expect(try await client.ask(bytes("PING")) == .status("PONG"))
        await client.stop()
    }

    @Test func `a resolver that takes longer than a try may take is not asked in vain`()
        async throws
    {
        let port = freePort()
        let server = try await RedisServer(["--port", "\(port)", "--bind", "127.0.0.1"])
        let isDone = Semaphore()
        let names = NameLookUp { _ in
            isDone.wait()
            return ["127.0.0.1"]
        }
        let dialer = Dialer(try RedisAddress("redis://somewhere:\(port)"), names: names)
        for _ in 0..<2 {
            await #expect(throws: Dialer.Problem.self) {
                _ = try await dialer.open(connectTimeout: 50) { _, _ in }
            }
        }
        isDone.signal()
        try await eventually { await !names.isUnderWay }
        // What came late serves the next try: the resolver would be slow again.
        let connection = try await dialer.open(connectTimeout: 10_000) { _, _ in }
        await connection.close()
        withExtendedLifetime(server) {}
    }

    @Test func `a server that does not speak Redis's protocol is not Redis`() async throws {
        for greeting in ["HTTP/1.1 400 Bad Request\r\n\r\n", "+OK\r\n+OK\r\n+OK\r\n", "*3\r\n", ""]
        {
            let stranger = try Stranger(greeting)
            let client = RedisClient(
                try RedisAddress("unix://\(stranger.path)"), prefix: "test:",
                tuning: RedisClient.Tuning(budget: 50, connectTimeout: 200), identifiers: ids,
                logger: silent)
            _ = Loop.started
            await client.start()
            await client.firstTry()
            #expect(await !client.isReady)
            await client.stop()
            stranger.close()
        }
    }

    // MARK: - Time

    @Test func `a command that is not answered in time fails, and three of them open the breaker`()
        async throws
    {
        let server = try await RedisServer()
        let client = try await server.client(budget: 50)
        try await eventually { await client.isReady }
        server.pause()
        var late = 0
        for _ in 0..<1000 where await client.isReady {
            do {
                _ = try await client.ask(bytes("PING"))
                // It did not stand still yet.
                late = 0
            } catch  where error == .late {
                late += 1
            } catch {
                #expect(error == .unavailable)
            }
        }
        #expect(late == Breaker.failureLimit)
        await #expect(throws: RedisError.unavailable) { try await client.ask(bytes("PING")) }
        server.resume()
        try await eventually { (try? await client.ask(bytes("PING"))) == .status("PONG") }
        await client.stop()
    }

    @Test func `a slow Redis is not taken back before it answers a ping in time`() async throws {
        let server = try await RedisServer()
        let client = try await server.client(budget: 50)
        try await eventually { await client.isReady }
        server.pause()
        await withTaskGroup { group in
            for _ in 0..<5 { group.addTask { _ = try? await client.ask([Array("PING".utf8)]) } }
        }
        #expect(await !client.isReady)
        server.resume()
        try await eventually { await client.isReady }
        await client.stop()
    }

    @Test(arguments: [false, true])
    func `a Redis that is slow all the time is given up, though each answer comes`(
        mayBeLate: Bool
    ) async throws {
        let server = try await RedisServer()
        let journal = LogJournal()
        let client = RedisClient(
            try server.address(), prefix: "test:",
            tuning: RedisClient.Tuning(budget: 100, connectTimeout: 10_000),
            identifiers: ids, logger: journal.logger)
        await client.start()
        try await eventually { await client.isReady }
        for _ in 0..<6 where !journal.text.contains("redis is away") {
            await answer(of: client, to: bytes("BLPOP", "nothing", "1"), mayBeLate: mayBeLate)
            // The answer comes all the same.
            try await eventually { await client.underWay == 0 }
        }
        #expect(journal.text.contains("redis is away"))
        await client.stop()
    }

    @EventLoop private func answer(
        of client: RedisClient, to command: [[UInt8]], mayBeLate: Bool
    ) async {
        await withUnsafeContinuation { continuation in
            client.send(command, mayBeLate: mayBeLate) { _ in continuation.resume() }
        }
    }

    @Test func `an answer after the time limit is dropped`() async throws {
        let server = try await RedisServer()
        let client = try await server.client(budget: 100)
        try await eventually { await client.isReady }
        server.pause()
        await #expect(throws: RedisError.late) { try await client.ask(bytes("ECHO", "late")) }
        server.resume()
        var answer: RedisReply?
        try await eventually {
            answer = try? await client.ask(bytes("ECHO", "next"))
            return answer != nil
        }
        #expect(answer?.text == "next")
        await client.stop()
    }

    @Test func `commands under way are bounded in number and bytes, and more fail at once`()
        async throws
    {
        let server = try await RedisServer()
        var tuning = Peer.slow
        (tuning.commands, tuning.bytes) = (10, 1000)
        let client = (try await server.peer(client: tuning)).client
        server.pause()
        let small = await overloads(of: client, sending: Array(repeating: "", count: 15))
        #expect(small == 5)
        server.resume()
        try await eventually { await client.underWay == 0 }
        server.pause()
        let text = String(repeating: "x", count: 400)
        #expect(await overloads(of: client, sending: [text, text, text, ""]) == 1)
        await client.stop()
    }

    /// How many of several commands that are sent at once are refused.
    @EventLoop private func overloads(of client: RedisClient, sending texts: [String]) -> Int {
        var count = 0
        for text in texts {
            client.send(bytes("ECHO", text)) { if $0 == .failure(.overloaded) { count += 1 } }
        }
        return count
    }

    // MARK: - Ends

    @Test func `a Redis that was killed fails the commands under way, and is found again`()
        async throws
    {
        let server = try await RedisServer()
        let client = try await server.client()
        server.pause()
        let first = await client.runID
        async let failure = failure(of: client)
        try await eventually { await client.underWay == 1 }
        server.kill()
        guard case .closed? = await failure else {
            Issue.record("no answer is possible")
            return
        }
        try await eventually { await client.runID == nil }
        try await server.start()
        try await eventually { await client.isReady }
        #expect(try await client.ask(bytes("PING")) == .status("PONG"))
        #expect(await client.runID != first)
        await client.stop()
    }

    private func failure(of client: RedisClient) async -> RedisError? {
        do throws(RedisError) {
            _ = try await client.ask(bytes("PING"))
            return nil
        } catch {
            return error
        }
    }

    /// Counts how often a client has lost Redis.
    @EventLoop private final class Ends {
        private(set) var count = 0

        nonisolated init() {}

        /// Has each connection killed as soon as it stands, until there were so many.
        func kill(_ limit: Int, of client: RedisClient, by admin: RedisClient) {
            let kill = ["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"].map { Array($0.utf8) }
            client.listen { event in
                switch event {
                case .ready where self.count < limit:
                    EventLoop.spawn { _ = try? await admin.ask(kill) }
                case .away: self.count += 1
                default: break
                }
            }
        }
    }

    @Test func `a Redis that goes each time before it was of use is tried ever less often`()
        async throws
    {
        let server = try await RedisServer()
        let admin = try await server.client()
        let journal = LogJournal()
        let client = RedisClient(
            try server.address(), prefix: "test:", tuning: Peer.slow, identifiers: ids,
            logger: journal.logger)
        let ends = Ends()
        await ends.kill(4, of: client, by: admin)
        await client.start()
        try await eventually { await ends.count >= 4 }
        // Reported at first, and again only once it was useful.
        #expect(journal.text.occurrences(of: "redis is there") < 3)
        #expect(journal.text.occurrences(of: "redis is away") < 3)
        try await eventually { await client.isReady }
        #expect(try await client.ask(bytes("PING")) == .status("PONG"))
        await client.stop()
        await admin.stop()
    }

    @Test func `large values pass, and so do empty ones and every byte`() async throws {
        let server = try await RedisServer()
        let client = try await server.client()
        let all = (0..<1_000_000).map { UInt8(truncatingIfNeeded: $0) }
        for value in [all, [], [0], Array("\r\n".utf8)] {
            #expect(try await client.ask([Array("SET".utf8), [0, 13], value]) == .status("OK"))
            #expect(try await client.ask([Array("GET".utf8), [0, 13]]).bytes == value)
        }
        await client.stop()
    }

    @Test func `an error keeps its code alone`() async throws {
        let server = try await RedisServer()
        let client = try await server.client()
        _ = try await client.ask(bytes("SET", "key", "value"))
        await #expect(throws: RedisError.refused(code: "WRONGTYPE")) {
            try await client.ask(bytes("HGET", "key", "canary"))
        }
        await #expect(throws: RedisError.refused(code: "ERR")) {
            try await client.ask(bytes("NONSENSE", "canary"))
        }
        #expect(await client.isReady)
        await client.stop()
    }
}
