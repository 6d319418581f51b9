internal import EventLoop
internal import ProxyGPT
internal import Synchronization
internal import TestSupport
internal import Testing

@testable internal import RedisStorage

/// One connection: it ends once and in good order, whichever side ends it, wherever.
@Suite struct RedisConnectionTests {
    /// What became of a connection.
    @EventLoop private final class Story {
        var connection: RedisConnection?
        var events: [String] = []
        var answers: [Result<RedisReply, RedisError>] = []
    }

    @EventLoop private func connect(
        to path: String, connected: @escaping @EventLoop (Story) -> Void
    ) throws -> Story {
        let story = Story()
        story.connection = try RedisConnection(
            to: .socket(path: path),
            connected: {
                story.events.append("connected")
                connected(story)
            },
            closed: { _ in story.events.append("closed") })
        return story
    }

    @EventLoop private func ask(_ story: Story, _ words: String...) {
        story.connection?.send(words.map { Array($0.utf8) }) { story.answers.append($0) }
    }

    @Test func `a connection may be closed as soon as it stands`() async throws {
        let server = try await RedisServer()
        let story = try await connect(to: server.socket) { story in
            self.ask(story, "PING")
            story.connection?.close()
        }
        try await eventually { await story.answers.count == 1 }
        #expect(await story.answers == [.failure(.closed("asked to"))])
        #expect(await story.events == ["connected"])
    }

    @Test func `a connection may be closed while an answer is handed out`() async throws {
        let server = try await RedisServer()
        let story = try await connect(to: server.socket) { story in
            story.connection?.send([Array("PING".utf8)]) { result in
                story.answers.append(result)
                story.connection?.close()
                self.ask(story, "PING")
            }
            self.ask(story, "ECHO", "a")
            self.ask(story, "ECHO", "b")
        }
        try await eventually { await story.answers.count == 4 }
        #expect(await story.answers.count { $0 == .success(.status("PONG")) } == 1)
        #expect(await story.answers.contains(.failure(.closed("already"))))
        #expect(await story.events == ["connected"])
        #expect(await story.connection?.pending == 0)
    }

    @Test func `an object that is let go ends nothing: its answers come first`() async throws {
        let server = try await RedisServer()
        let story = try await connect(to: server.socket) { story in
            self.ask(story, "PING")
            story.connection = nil
        }
        try await eventually { await story.answers == [.success(.status("PONG"))] }
        try await server.ask("CLIENT", "KILL", "TYPE", "normal")
        try await eventually { await story.events == ["connected", "closed"] }
    }

    @Test(arguments: [
        "+OK\r\n", ":1\r\n", "$1\r\nx\r\n", "*0\r\n", "*-1\r\n", "*1\r\n$9\r\nsubscribe\r\n",
        "*3\r\n$11\r\nunsubscribe\r\n$1\r\nc\r\n$1\r\nx\r\n", "*3\r\n:1\r\n:2\r\n:3\r\n",
        "*3\r\n$7\r\nmessage\r\n:1\r\n$1\r\nx\r\n", "*3\r\n*1\r\n:1\r\n$1\r\nc\r\n:1\r\n",
        "*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n*1\r\n:1\r\n", "*2\r\n$4\r\npong\r\n$0\r\n\r\n",
        "*3\r\n$-1\r\n$1\r\nc\r\n:1\r\n", "-ERR canary\r\n", "rubbish\r\n",
        "*3\r\n-x\r\n:1\r\n:1\r\n",
    ])
    func `what is no publication ends a subscription, not the process`(said: String) async throws {
        _ = Loop.started
        let stranger = try Stranger(said)
        let story = try await connect(to: stranger.path) { story in
            story.connection?.subscribe(to: "c", subscribed: {}, receive: { _ in })
        }
        try await eventually { await story.events == ["connected", "closed"] }
        stranger.close()
    }

    @Test(arguments: [
        "+OK\r\n+OK\r\n", "$1\r\nx\r\n*1\r\n:1\r\n", "+OK\r\n:1\r\n", "+OK\r\n$-1\r\n",
    ])
    func `an answer that nobody asked for ends a connection, not the process`(
        said: String
    ) async throws {
        _ = Loop.started
        let stranger = try Stranger(said)
        let story = try await connect(to: stranger.path) { self.ask($0, "PING") }
        try await eventually { await story.events == ["connected", "closed"] }
        #expect(await story.answers.count == 1)
        stranger.close()
    }

    @Test(arguments: [
        "*2147483647\r\n", "*100001\r\n", "*3\r\n*100000\r\n", "$9999999999\r\n",
        "$99999999999999999999\r\n", "*2\r\n$3\r\nabc\r\n$16777217\r\n",
        "*2\r\n*60000\r\n*40000\r\n",
    ])
    func `an answer that announces more than any of ours has ends the connection at once`(
        said: String
    ) async throws {
        _ = Loop.started
        let stranger = try Stranger(said)
        let story = try await connect(to: stranger.path) { self.ask($0, "PING") }
        try await eventually { await story.events == ["connected", "closed"] }
        #expect(
            await story.answers == [
                .failure(.closed("the other side does not speak Redis's protocol"))
            ])
        stranger.close()
    }

    @Test func `an answer as large as any of ours comes`() async throws {
        let server = try await RedisServer()
        let client = try await server.client()
        let text = [UInt8](repeating: 0x78, count: 8 << 20)
        _ = try await client.ask([Array("SET".utf8), Array("k".utf8), text])
        #expect(try await client.ask([Array("GET".utf8), Array("k".utf8)]).bytes == text)
        let script = Array("local t = {} for i = 1, 50000 do t[i] = i end return t".utf8)
        let reply = try await client.ask([Array("EVAL".utf8), script, Array("0".utf8)])
        #expect(reply.list?.count == 50_000)
        await client.stop()
    }
}
