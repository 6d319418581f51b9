internal import NIOHTTP1
internal import Testing

@testable import ProxyGPTClient

@Suite struct StreamTests {
    private static let whole = "echo: Grüße 😀 and \"more\"\nwords"

    private static let events = [
        sse("e:1"), partial("e:2", "echo: "), partial("e:3", "Grüße "), partial("e:4", "😀 and "),
        partial("e:5", "\"more\"\n"), partial("e:6", "words"), final("e:7", message("done", whole)),
    ]

    /// A stream from its first byte to the final frame.
    private static let transcript = "retry: 1000\n\n" + events.joined()

    /// What the server sends to a client that goes on after its id.
    private static let rest: @Sendable (Received) async -> Answer = { request in
        let id = request.headers["Last-Event-ID"].first.map { Int($0.dropFirst(2)) ?? 0 } ?? 0
        return .stream("retry: 1000\n\n" + Self.events[id...].joined(), .never)
    }

    /// The transcript without the bytes behind a place.
    private static func cut(_ place: Int) -> String? {
        String(validating: transcript.utf8.prefix(place), as: UTF8.self)
    }

    @Test(arguments: [Answer.Ending.cleanly, .abruptly, .byReset])
    func `a stream that is cut at any byte loses and repeats no word`(
        ending: Answer.Ending
    ) async throws {
        try await FakeServer.with(["/chat/prompt": prompted]) { client, server in
            // Every place three times would take long.
            let step = ending == .abruptly ? 1 : 7
            for place in stride(from: 0, through: Self.transcript.utf8.count, by: step) {
                // Text in the fake is UTF-8: a cut within a character is one before it.
                guard let text = Self.cut(place) else { continue }
                server.forget()
                server.handle([
                    "/chat/stream": Handler([{ _ in .stream(text, ending) }, Self.rest])
                ])
                let (deltas, joined, error) = await collect(client.chats.stream(chatID, "Hello"))
                #expect(error == nil, "cut at \(place)")
                #expect(joined == Self.whole, "cut at \(place)")
                let last = try #require(deltas.last)
                #expect(last.done && last.message.state == .done, "cut at \(place)")
                #expect(last.message.reply == Self.whole, "cut at \(place)")
                #expect(server.requests("/chat/prompt").count == 1, "cut at \(place)")
                #expect(server.requests("/chat/stop").isEmpty, "cut at \(place)")
            }
        }
    }

    struct Restart: Sendable, CustomTestStringConvertible {
        let testDescription: String
        /// The events before the first cut.
        var eventsBefore = 1
        let rest: String
        let stored: String
    }

    private static let earlier = message("done", "earlier", id: "earlier")

    private static let restarts = [
        Restart(
            testDescription: "the reply runs",
            rest: partial("reset:0", "echo: Gr") + partial("reset:0", "üße 😀 and \"more\"")
                + partial("f:1", "\nwor") + partial("f:2", "ds")
                + final("f:3", message("done", whole)),
            stored: message("streaming", "")),
        Restart(
            testDescription: "the reply has ended",
            rest: final("reset:0", earlier) + final("f:1", message("done", whole)),
            stored: message("streaming", "")),
        Restart(
            testDescription: "the reply has ended and is too old to be sent",
            rest: final("f:1", earlier), stored: message("done", whole)),
        Restart(
            testDescription: "the deltas go on in the middle", eventsBefore: 2,
            rest: partial("f:1", "words") + final("f:2", message("done", whole)),
            stored: message("streaming", "")),
    ]

    @Test(arguments: restarts)
    func `a stream that starts over loses and repeats no word`(restart: Restart) async throws {
        let chat =
            #"{"id":"c","name":"n","model":"m","user_id":"u","group_id":null,"#
            + #""created_at":"2026-11-30T12:00:00Z","updated_at":"2026-11-30T12:00:00Z"}"#
        try await FakeServer.with([
            "/chat/prompt": prompted,
            "/chat/read": .inTurn(
                .whole(
                    200,
                    #"{"chat":\#(chat),"users":[],"messages":[\#(restart.stored)],"has_more":false}"#
                )),
        ]) { client, server in
            let before = "retry: 1000\n\n" + Self.events[..<restart.eventsBefore].joined()
            // Every place would take long; each event is cut at several.
            for place in stride(from: before.utf8.count, to: Self.transcript.utf8.count, by: 13) {
                guard let text = Self.cut(place) else { continue }
                server.handle([
                    "/chat/stream": .inTurn(
                        .stream(text, .abruptly), .stream(reset + restart.rest, .never))
                ])
                let (_, joined, error) = await collect(client.chats.stream(chatID, "Hello"))
                #expect(error == nil, "cut at \(place)")
                #expect(joined == Self.whole, "cut at \(place)")
            }
        }
    }

    @Test func `a stream subscribes before it prompts`() async throws {
        try await FakeServer.with([
            "/chat/stream": .inTurn(.stream(Self.transcript, .never)), "/chat/prompt": prompted,
        ]) { client, server in
            let (_, joined, error) = await collect(client.chats.stream(chatID, "Hello", context: 3))
            #expect(error == nil && joined == Self.whole)
            let requests = server.allRequests
            #expect(requests.map(\.path) == ["/chat/stream", "/chat/prompt"])
            let prompt = try #require(requests.last)
            #expect(prompt.fields["stream"] as? Bool == true)
            #expect(prompt.fields["context"] as? Int == 3)
            #expect(prompt.fields["prompt"] as? String == "Hello")
            #expect(prompt.headers["Idempotency-Key"].first?.isEmpty == false)
            for request in requests {
                #expect(request.headers["Authorization"] == ["Bearer pgpt_secret"])
                #expect(request.query.isEmpty)
            }
        }
    }

    @Test func `frames that are not of the reply are left out`() async throws {
        let text =
            sse("e:1") + partial("e:2", "of another", message: "another")
            + final("e:3", message("done", "of another", id: "another"))
            + sse("e:3", "x", name: "news") + ": keep-alive\nid: e:4\n\n" + partial("e:5", "mine")
            + final("e:6", message("done", "mine")) + final("e:6", message("done", "mine"))
        try await FakeServer.with([
            "/chat/stream": .inTurn(.stream(text, .never)), "/chat/prompt": prompted,
        ]) { client, _ in
            let (deltas, joined, error) = await collect(client.chats.stream(chatID, "Hello"))
            #expect(error == nil && joined == "mine" && deltas.count == 2)
        }
    }

    struct End: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let frames: String
        let text: String
        var state: MessageState?
        var status: Int?
        var code: String?
        var upstreamMessage: String?
    }

    private static let ends = [
        End(
            testDescription: "done", frames: final("e:3", message("done", "one two")),
            text: "one two", state: .done),
        End(
            testDescription: "stopped", frames: final("e:3", message("stopped", "one")),
            text: "one",
            state: .stopped),
        End(
            testDescription: "failed after more text",
            frames: final(
                "e:3",
                message(
                    "failed", "one two",
                    error:
                        #"{"code":"upstream_error","message":"Off.","upstream_message":"overloaded"}"#
                )),
            text: "one two", status: 502, code: "upstream_error", upstreamMessage: "overloaded"),
        End(
            testDescription: "failed in time",
            frames: final(
                "e:3",
                message(
                    "failed", "one", error: #"{"code":"upstream_timeout","message":"Too late."}"#)),
            text: "one", status: 504, code: "upstream_timeout"),
        End(
            testDescription: "a frame that is no JSON", frames: sse("e:3", "{"), text: "one",
            status: 200, code: "unexpected_answer"),
    ]

    @Test(arguments: ends)
    func `the end of a reply`(end: End) async throws {
        let text = sse("e:1") + partial("e:2", "one") + end.frames
        try await FakeServer.with([
            "/chat/stream": .inTurn(.stream(text, .never)), "/chat/prompt": prompted,
        ]) { client, server in
            let (deltas, joined, error) = await collect(client.chats.stream(chatID, "Hello"))
            #expect(joined == end.text)
            if let state = end.state {
                #expect(error == nil)
                #expect(deltas.last?.done == true && deltas.last?.message.state == state)
            } else {
                let error = try #require(error as? ProxyGPTError)
                #expect(error.status == end.status && error.code == end.code)
                #expect(error.upstreamMessage == end.upstreamMessage)
                #expect(!deltas.contains { $0.done })
            }
        }
    }

    @Test func `a prompt that the server knows ends the stream`() async throws {
        try await FakeServer.with([
            "/chat/stream": .inTurn(.stream(sse("e:1"), .never)),
            "/chat/prompt": .inTurn(
                .whole(200, #"{"message":\#(message("done", "known")),"reply":"known"}"#)),
        ]) { client, _ in
            let stream = client.chats.stream(chatID, "Hello", idempotencyKey: "mine")
            let (_, joined, error) = await collect(stream)
            #expect(error == nil && joined == "known")
        }
    }

    @Test(arguments: [Answer.stream(sse("e:1") + partial("e:2", "echo: "), .never), .silence])
    func `a silent stream is replaced`(first: Answer) async throws {
        try await FakeServer.with(
            [
                "/chat/stream": Handler([{ _ in first }, Self.rest]), "/chat/prompt": prompted,
            ], silenceTimeout: .seconds(1)
        ) { client, server in
            let (_, joined, error) = await collect(client.chats.stream(chatID, "Hello"))
            #expect(error == nil && joined == Self.whole)
            #expect(server.requests("/chat/stream").count >= 2)
        }
    }

    @Test(arguments: [("1234", Duration.milliseconds(1234)), ("30000", .seconds(10))])
    func `the server says when a stream is resumed`(retry: String, pause: Duration) async throws {
        let start = sse("e:1") + partial("e:2", "echo: ") + "retry: \(retry)\n\n"
        try await FakeServer.with([
            "/chat/stream": Handler([
                { _ in .stream(start, .cleanly) },
                { _ in .whole(503, refusal("unavailable"), [("Retry-After", "7")]) }, Self.rest,
            ]),
            "/chat/prompt": prompted,
        ]) { client, server in
            let (_, joined, error) = await collect(client.chats.stream(chatID, "Hello"))
            #expect(error == nil && joined == Self.whole)
            #expect(server.pauses == [pause, .seconds(7)])
            let last = try #require(server.requests("/chat/stream").last)
            #expect(last.headers["Last-Event-ID"] == ["e:2"])
        }
    }

    struct Loss: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let later: Answer
        var connections = 1 + Subscription.attemptLimit
        var status = 0
        var code = "connection"
    }

    private static let losses = [
        Loss(testDescription: "no connection", later: .stream("", .byReset)),
        Loss(testDescription: "no new id", later: .stream("retry: 5\n\n" + sse("e:2"), .cleanly)),
        Loss(
            testDescription: "no stream", later: .whole(200, "<html>"), connections: 2, status: 200,
            code: "unexpected_answer"),
        Loss(
            testDescription: "a proxy's page", later: .whole(502, "<html>"), status: 502,
            code: "unexpected_answer"),
        Loss(
            testDescription: "logged out", later: .whole(401, refusal("unauthorized")),
            connections: 2, status: 401, code: "unauthorized"),
        Loss(
            testDescription: "a long wait",
            later: .whole(503, refusal("unavailable"), [("Retry-After", "61")]), connections: 2,
            status: 503, code: "unavailable"),
    ]

    @Test(arguments: losses)
    func `a stream that brings nothing is given up`(loss: Loss) async throws {
        try await FakeServer.with([
            "/chat/stream": .inTurn(
                .stream(sse("e:1") + partial("e:2", "one"), .cleanly), loss.later),
            "/chat/prompt": prompted,
        ]) { client, server in
            let (_, joined, error) = await collect(client.chats.stream(chatID, "Hello"))
            #expect(joined == "one")
            let known = try #require(error as? ProxyGPTError)
            #expect(known.status == loss.status && known.code == loss.code)
            #expect(server.requests("/chat/stream").count == loss.connections)
            // The reply goes on at the server.
            #expect(server.requests("/chat/stop").isEmpty)
        }
    }

    @Test func `comments keep a stream alive`() async throws {
        let ping: @Sendable (Received) async -> Answer = { _ in
            .stream("retry: 5\n\n: keep-alive\n\n", .cleanly)
        }
        let pings = Array(repeating: ping, count: 3 * Subscription.attemptLimit)
        try await FakeServer.with([
            "/chat/stream": Handler(
                [{ _ in .stream(sse("e:1"), .cleanly) }] + pings
                    + [{ _ in .stream(final("e:2", message("done", "late")), .never) }]),
            "/chat/prompt": prompted,
        ]) { client, _ in
            let (_, joined, error) = await collect(client.chats.stream(chatID, "Hello"))
            #expect(error == nil && joined == "late")
        }
    }

    @Test(arguments: [
        (Answer.whole(404, refusal("not_found", param: "id")), 1),
        (.stream("retry: 9000\n\n", .cleanly), 3), (.stream("", .byReset), 3),
    ])
    func `a stream that does not begin sends no prompt`(
        answer: Answer, connections: Int
    ) async throws {
        try await FakeServer.with([
            "/chat/stream": .inTurn(answer), "/chat/prompt": prompted,
        ]) { client, server in
            let (_, _, error) = await collect(client.chats.stream(chatID, "Hello"))
            #expect(error is ProxyGPTError)
            #expect(server.requests("/chat/stream").count == connections)
            #expect(server.requests("/chat/prompt").isEmpty)
        }
    }

    // MARK: - Ways to end early

    private static let start = sse("e:1") + partial("e:2", "one")

    private func expectStop(_ server: FakeServer) {
        let stops = server.requests("/chat/stop")
        #expect(stops.count == 1)
        #expect(stops.first?.fields["id"] as? String == chatID)
        #expect(stops.first?.fields["message_id"] as? String == messageID)
    }

    @Test func `a cancelled task stops the reply`() async throws {
        try await FakeServer.with([
            "/chat/stream": .inTurn(.stream(Self.start, .never)), "/chat/prompt": prompted,
            "/chat/stop": stopped,
        ]) { client, server in
            let (signal, signaled) = AsyncStream.makeStream(of: Void.self)
            let task = Task {
                for try await _ in client.chats.stream(chatID, "Hello") { signaled.yield() }
            }
            for await _ in signal { break }
            task.cancel()
            let result = await task.result
            #expect(throws: CancellationError.self) { try result.get() }
            // Once the task has ended the reply is stopped.
            expectStop(server)
        }
    }

    @Test func `a loop that is left stops the reply`() async throws {
        try await FakeServer.with([
            "/chat/stream": .inTurn(.stream(Self.start, .never)), "/chat/prompt": prompted,
            "/chat/stop": stopped,
        ]) { client, server in
            for try await _ in client.chats.stream(chatID, "Hello") { break }
            await server.awaitRequest("/chat/stop")
            expectStop(server)
        }
    }

    @Test func `a task that is cancelled while it prompts stops the reply`() async throws {
        let (signal, signaled) = AsyncStream.makeStream(of: Void.self)
        let (goes, goesOn) = AsyncStream.makeStream(of: Void.self)
        try await FakeServer.with([
            "/chat/stream": .inTurn(.stream(Self.start, .never)), "/chat/stop": stopped,
            "/chat/prompt": .always { request in
                signaled.yield()
                for await _ in goes { break }
                return await prompted.answer(request)
            },
        ]) { client, server in
            let task = Task { await collect(client.chats.stream(chatID, "Hello")) }
            for await _ in signal { break }
            task.cancel()
            goesOn.yield()
            let (deltas, _, error) = await task.value
            #expect(error is CancellationError && deltas.isEmpty)
            expectStop(server)
        }
    }

    @Test func `a stream that has ended stops nothing`() async throws {
        try await FakeServer.with([
            "/chat/stream": .inTurn(.stream(Self.transcript, .never)), "/chat/prompt": prompted,
            "/chat/stop": stopped,
        ]) { client, server in
            for try await delta in client.chats.stream(chatID, "Hello") where delta.done { break }
            _ = try? await client.users.session()
            #expect(server.requests("/chat/stop").isEmpty)
        }
    }

    // MARK: - Watching

    struct Watched: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let streams: [String]
        let frames: [String]
    }

    private static let watches = [
        Watched(
            testDescription: "a reply",
            streams: [
                sse("e:1") + partial("e:2", "one ") + final("e:3", message("done", "one two"))
            ],
            frames: ["e:2 true one ", "e:3 false one two"]),
        Watched(
            testDescription: "a final frame that comes again",
            streams: [
                final("e:1", message("done", "one")),
                final("e:1", message("done", "one")) + partial("e:2", "x"),
            ], frames: ["e:1 false one", "e:2 true x"]),
        Watched(
            testDescription: "a reply that runs again",
            streams: [
                final("e:1", message("failed", "one")) + partial("e:2", "on")
                    + final("e:3", message("failed", "one", updatedAt: "2026-11-30T12:00:02.000Z"))
            ], frames: ["e:1 false one", "e:2 true on", "e:3 false one"]),
        Watched(
            testDescription: "a reset",
            streams: [
                final("e:1", message("done", "one")), reset + final("f:1", message("done", "one")),
            ], frames: ["e:1 false one", "reset:0", "f:1 false one"]),
        Watched(
            testDescription: "a frame that is cut",
            streams: [
                partial("e:1", "one ") + "id: e:2\ndata: {\"mess", partial("e:2", "two"),
            ], frames: ["e:1 true one ", "e:2 true two"]),
    ]

    @Test(arguments: watches)
    func `a watch brings each frame once`(watched: Watched) async throws {
        let refused: @Sendable (Received) async -> Answer = { _ in
            .whole(401, refusal("unauthorized"))
        }
        let streams = watched.streams.map { text -> @Sendable (Received) async -> Answer in
            { _ in .stream(text, .abruptly) }
        }
        try await FakeServer.with(["/chat/stream": Handler(streams + [refused])]) {
            client, server in
            var frames: [String] = []
            let error = await thrown {
                for try await frame in client.chats.watch(chatID, after: "e:0") {
                    let text = frame.message.map { " \(frame.partial) \($0.reply)" } ?? ""
                    frames.append(frame.id + text)
                }
            }
            #expect(frames == watched.frames)
            #expect((error as? ProxyGPTError)?.status == 401)
            #expect(server.requests("/chat/stream").first?.headers["Last-Event-ID"] == ["e:0"])
        }
    }

    @Test func `a watch ends with its task`() async throws {
        try await FakeServer.with(["/chat/stream": .inTurn(.stream(Self.start, .never))]) {
            client, server in
            let (signal, signaled) = AsyncStream.makeStream(of: Void.self)
            let task = Task { for try await _ in client.chats.watch(chatID) { signaled.yield() } }
            for await _ in signal { break }
            task.cancel()
            let result = await task.result
            #expect(throws: CancellationError.self) { try result.get() }
            #expect(server.requests("/chat/stop").isEmpty)
        }
    }
}
