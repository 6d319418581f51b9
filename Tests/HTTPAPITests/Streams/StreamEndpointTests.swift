import Credentials
import EventLoop
import Formats
@testable import Gateway
import Logging
import ProxyGPT
import SQLStorage
import Testing

@testable import Streaming

@Suite(.timeLimit(.minutes(5))) struct StreamEndpointTests {
    private let stage: Stage
    private let endpoint: StreamEndpoint
    private let recorder: StreamRecorder

    init() throws {
        stage = try Stage()
        let settings = try Settings(
            values: ["API_KEY": Stage.key, "CORS_ORIGINS": "https://app.example"])
        recorder = stage.recorder(settings)
        endpoint = StreamEndpoint(
            store: stage.storage.store, clock: stage.clock, recorder: recorder)
    }

    private static let upgrade = [
        Header("Connection", "keep-alive, Upgrade"), Header("Upgrade", "WebSocket"),
        Header("Sec-WebSocket-Version", "13"),
        // The example of RFC 6455, section 1.3.
        Header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ]

    private func chat(_ token: String) async throws -> Chat.ID {
        let answer = await stage.post("/chat/create", "name=a", token: token)
        return Chat.ID(try #require(answer.json?["id"]?.stringValue))
    }

    private func subscribe(_ request: Request) async -> Subscription? {
        guard case .subscription(let subscription) = await endpoint.answer(request) else {
            return nil
        }
        return subscription
    }

    private func status(_ request: Request) async -> Int {
        guard case .response(let response) = await endpoint.answer(request) else { return 0 }
        return response.status
    }

    @Test("What this endpoint and that of WebSockets refuse has one budget of rows")
    func sharesTheBudget() async throws {
        let settings = try Settings(values: ["API_KEY": Stage.key])
        let realtime = RealtimeEndpoint(
            settings: settings, clock: stage.clock, recorder: recorder,
            logger: Logger(label: "test"))
        for _ in 0..<70 {
            #expect(await status(Stage.request("GET", "/chat/stream?id=a")) == 401)
            let refused = await realtime.answer(
                Stage.request("GET", "/v1/realtime", headers: Self.upgrade))
            guard case .response(let response) = refused else {
                Issue.record("a stranger was served")
                continue
            }
            #expect(response.status == 401)
        }
        #expect(stage.events.recorded.count == 100)
        recorder.tick(isLast: true)
        let counts = stage.events.recorded.dropFirst(100)
        #expect(
            counts.map(\.detail) == [
                "20 more requests without a valid credential",
                "20 more requests without a valid credential",
            ])
    }

    @Test("A subscription names its user, chat, transport and position")
    func subscribes() async throws {
        let token = try await stage.user()
        let chat = try await chat(token)
        let plain = try #require(
            await subscribe(Stage.request("GET", "/chat/stream?id=\(chat)", token: token)))
        #expect(plain.chatID == chat && plain.transport == .serverSentEvents)
        #expect(plain.resumption == .none && !plain.isHeadOnly)
        #expect(plain.headers.contains(Header("X-Request-Id", "request-1")))
        let socket = try #require(
            await subscribe(
                Stage.request(
                    "GET", "/chat/stream?chat_id=\(chat)&token=\(token)&last_event_id=e-5",
                    headers: Self.upgrade)))
        #expect(socket.transport == .webSocket(accept: "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="))
        #expect(socket.resumption == .after(FrameID(epoch: "e", sequence: 5)))
        let polyfill = try #require(
            await subscribe(
                Stage.request(
                    "GET", "/chat/stream?id=\(chat)&lastEventId=e-5&_=1", token: token)))
        #expect(polyfill.resumption == .after(FrameID(epoch: "e", sequence: 5)))
        let form = try #require(
            await subscribe(
                Stage.request(
                    "POST", "/chat/stream",
                    headers: [
                        Header("Last-Event-ID", "nonsense"),
                        Header("Content-Type", "application/json"),
                        Header("Upgrade", "h2c"), Header("Connection", "Upgrade"),
                    ],
                    body: "{\"id\":\"\(chat)\",\"token\":\"\(token)\"}")))
        #expect(form.transport == .serverSentEvents && form.resumption == .impossible)
        #expect(
            await subscribe(Stage.request("HEAD", "/chat/stream?id=\(chat)", token: token))?
                .isHeadOnly == true)
    }

    @Test("Without a credential nothing is looked at; a wrong one is not made up for")
    func credentials() async throws {
        let token = try await stage.user()
        let chat = try await chat(token)
        let path = "/chat/stream?id=\(chat)"
        let cookie = [Header("Cookie", "sess=\(token)")]
        #expect(await status(Stage.request("GET", "/chat/stream?id=%zz")) == 401)
        #expect(await status(Stage.request("GET", path + "&token=wrong", headers: cookie)) == 401)
        #expect(await status(Stage.request("GET", path + "&token=\(token)", token: "wrong")) == 401)
        #expect(await subscribe(Stage.request("GET", path, headers: cookie)) != nil)
        #expect(await status(Stage.request("GET", "/chat/stream?id=%zz", token: token)) == 400)
        // The token is looked for although another parameter is unknown.
        for (token, expected) in [(token, 400), ("wrong", 401)] {
            #expect(
                await status(Stage.request("GET", path + "&last=1&token=\(token)")) == expected)
        }
        #expect(await status(Stage.request("GET", "/chat/stream?id=x", token: token)) == 404)
        #expect(await status(Stage.request("GET", "/chat/read?id=x", token: token)) == 404)
        #expect(await status(Stage.request("DELETE", path, token: token)) == 405)
        let stranger = try await stage.user("other")
        #expect(await status(Stage.request("GET", path, token: stranger)) == 404)
    }

    @Test("A page opens a WebSocket of its own origin, and with a token one that may call")
    func origins() async throws {
        let token = try await stage.user()
        let path = "/chat/stream?id=\(try await chat(token))"
        func isOpened(_ origin: String, _ headers: [Header] = [], token: String? = nil) async
            -> Bool
        {
            await subscribe(
                Stage.request(
                    "GET", path, token: token,
                    headers: Self.upgrade + headers + [Header("Origin", origin)])) != nil
        }
        let cookie = [Header("Cookie", "sess=\(token)")]
        #expect(await isOpened("http://localhost:8080", cookie))
        #expect(await isOpened("http://localhost:8080", token: token))
        #expect(await isOpened("https://app.example", token: token))
        #expect(await !isOpened("https://app.example", cookie))
        #expect(await !isOpened("https://evil.example", token: token))
        #expect(await !isOpened("null", cookie))
    }

    @Test("A handshake that is none is refused with the version that is spoken")
    func handshakes() async throws {
        let token = try await stage.user()
        let path = "/chat/stream?id=\(try await chat(token))"
        for (name, value) in [
            ("Sec-WebSocket-Version", "8"), ("Sec-WebSocket-Key", "short"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ"), ("Sec-WebSocket-Key", ""),
        ] {
            let headers = Self.upgrade.map { $0.name == name ? Header(name, value) : $0 }
            let answer = await endpoint.answer(
                Stage.request("GET", path, token: token, headers: headers))
            guard case .response(let response) = answer else {
                Issue.record("\(name): \(value)")
                continue
            }
            #expect(response.status == (name == "Sec-WebSocket-Version" ? 426 : 400))
            #expect(response.headers.contains(Header("Sec-WebSocket-Version", "13")))
        }
        let posted = Stage.request("POST", path, token: token, headers: Self.upgrade)
        #expect(await status(posted) == 426)
    }

    @Test("A stream is one event, opened at its beginning and closed at its end")
    func events() async throws {
        let token = try await stage.user()
        let path = "/chat/stream?id=\(try await chat(token))&token=\(token)"
        let subscription = try #require(await subscribe(Stage.request("GET", path)))
        #expect(stage.journal.entries.contains("open"))
        stage.clock.advance(seconds: 3)
        await endpoint.ended(subscription, .stopped, bytesOut: 7, detail: "restart")
        let event = try #require(stage.events.closed.last)
        #expect(event.kind == .stream && event.end == .stopped && event.bytesOut == 7)
        #expect(event.durationMicroseconds == 3_000_000 && event.path == "/chat/stream")
        #expect(event.userID == subscription.userID && event.chatID == subscription.chatID.text)
    }

    @Test("What allowed a stream is looked at anew: session, membership, chat")
    func staysAllowed() async throws {
        let token = try await stage.user()
        let path = "/chat/stream?id=\(try await chat(token))"
        let subscription = try #require(await subscribe(Stage.request("GET", path, token: token)))
        #expect(try await endpoint.isStillAllowed(subscription))
        await stage.post("/chat/delete", "id=\(subscription.chatID)", token: token)
        #expect(try await !endpoint.isStillAllowed(subscription))
        let other = "/chat/stream?id=\(try await chat(token))"
        let second = try #require(await subscribe(Stage.request("GET", other, token: token)))
        #expect(try await endpoint.isStillAllowed(second))
        await stage.post("/user/logout", token: token)
        #expect(try await !endpoint.isStillAllowed(second))
    }
}
