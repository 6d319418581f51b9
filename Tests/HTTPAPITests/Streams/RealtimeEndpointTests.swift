import Credentials
import Formats
@testable import Gateway
@testable import Streaming
import Logging
import ProxyGPT
import SQLStorage
import Testing

@Suite(.timeLimit(.minutes(5))) struct RealtimeEndpointTests {
    private let stage: Stage
    private let endpoint: RealtimeEndpoint

    init() throws {
        let stage = try Stage()
        self.stage = stage
        let log = stage.log
        let settings = try Settings(values: ["API_KEY": Stage.key])
        let logger = Logger(label: "test") { _ in LogRecorder(lines: log) }
        endpoint = RealtimeEndpoint(
            settings: settings, clock: stage.clock,
            recorder: stage.recorder(settings, logger), logger: logger)
    }

    private static let handshake = [
        Header("Upgrade", "websocket"), Header("Connection", "Upgrade"),
        Header("Sec-WebSocket-Version", "13"),
        Header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ]

    private func answer(
        _ target: String = "/v1/realtime?model=m", token: String? = nil, _ headers: [Header] = [],
        handshake: [Header] = handshake
    ) async -> RealtimeEndpoint.Answer {
        await endpoint.answer(
            Stage.request("GET", target, token: token, headers: handshake + headers))
    }

    private func call(_ answer: RealtimeEndpoint.Answer) throws -> RealtimeCall {
        guard case .call(let call) = answer else {
            throw Failure(.internal, "\(answer) is no call")
        }
        return call
    }

    private func status(_ answer: RealtimeEndpoint.Answer) -> Int? {
        if case .response(let response) = answer { response.status } else { nil }
    }

    private func value(_ name: String, in response: Response) -> String? {
        response.headers.first { equalIgnoringCase($0.name, name) }?.value
    }

    @Test("A call is granted with its opening row committed and without what is ours")
    func grants() async throws {
        let token = try await stage.user()
        let call = try call(
            await answer(
                token: token,
                [
                    Header("Cookie", "sess=x"), Header("OpenAI-Beta", "realtime=v1"),
                    Header("Sec-WebSocket-Extensions", "permessage-deflate"),
                    Header(
                        "Sec-WebSocket-Protocol", "realtime, openai-insecure-api-key.\(token)"),
                ]))
        #expect(stage.journal.entries == ["open", "opened?", "opened"])
        #expect(call.url == Array("https://api.openai.com/v1/realtime?model=m".utf8))
        #expect(call.headers == [Header("OpenAI-Beta", "realtime=v1")])
        #expect(call.subprotocols == ["realtime"])
        #expect(call.accept == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
        #expect(call.event.kind == .forward && call.event.model == "m")
    }

    @Test("A WebSocket may be anywhere below /v1/, at a path that is in plain form")
    func servesEveryPath() async throws {
        let token = try await stage.user()
        for path in ["/v1/responses", "/v1/audio/x?model=m", "/v1/realtime/calls/a%20b"] {
            let request = Stage.request("GET", path, token: token, headers: Self.handshake)
            #expect(RealtimeEndpoint.serves(request))
            let url = try call(await endpoint.answer(request)).url
            #expect(url == Array(("https://api.openai.com" + path).utf8))
        }
        for path in ["/v1/../user/read", "/v1//realtime", "/v1/a%2fb", "/v1/a%00", "/v1/%2e%2e/x"] {
            #expect(status(await answer(path, token: token)) == 400, "\(path)")
        }
        for path in ["/v1", "/v1x", "/chat/stream", "/v1?/v1/", "/V1/x"] {
            #expect(!RealtimeEndpoint.serves(Stage.request("GET", path)), "\(path)")
        }
        // A mark behind the slash makes it another Character, and no other byte.
        #expect(RealtimeEndpoint.serves(Stage.request("GET", "/v1/\u{301}x")))
    }

    @Test("The query of a WebSocket may be no UTF-8, its path may not")
    func passesTheQuerysBytes() async throws {
        let token = try await stage.user()
        func request(_ raw: [UInt8]) -> Request {
            Stage.request(
                "GET", String(decoding: raw, as: UTF8.self), rawTarget: raw, token: token,
                headers: Self.handshake)
        }
        let raw = Array("/v1/responses?model=m&x=".utf8) + [0xFF, 0xC3]
        let call = try call(await endpoint.answer(request(raw)))
        #expect(call.url == Array("https://api.openai.com".utf8) + raw)
        #expect(call.event.model == "m" && call.event.path == "/v1/responses")
        #expect(status(await endpoint.answer(request(Array("/v1/".utf8) + [0xFF]))) == 400)
    }

    @Test("A deployment that serves no such WebSocket is a WebSocket that is not served")
    func deployments() async throws {
        let settings = try Settings(values: [
            "API_KEY": Stage.key,
            "API_URL": "https://x.openai.azure.com/openai/deployments/d/completions?api-version=1",
        ])
        let azure = RealtimeEndpoint(
            settings: settings, clock: stage.clock,
            recorder: stage.recorder(settings), logger: Logger(label: "test"))
        let token = try await stage.user()
        func answer(_ path: String) async -> RealtimeEndpoint.Answer {
            await azure.answer(Stage.request("GET", path, token: token, headers: Self.handshake))
        }
        #expect(status(await answer("/v1/responses")) == 426)
        let call = try call(await answer("/v1/realtime"))
        #expect(
            call.url
                == Array(
                    "https://x.openai.azure.com/openai/realtime?api-version=1&deployment=d".utf8))
    }

    @Test("The path of a row is cut between bytes")
    func cutsThePath() async throws {
        let token = try await stage.user()
        let granted = try call(await answer("/v1/responses?\u{301}\u{323}token=x", token: token))
        #expect(granted.event.path == "/v1/responses")
    }

    @Test("Nothing is granted while nothing can be recorded")
    func needsTheRow() async throws {
        let token = try await stage.user()
        stage.events.set { $0.openingsFail = true }
        #expect(status(await answer(token: token)) == 503)
    }

    @Test("Without a session there is nothing, and without a handshake no WebSocket")
    func refuses() async throws {
        #expect(status(await answer()) == 401)
        #expect(status(await answer("/v1/realtime?token=x")) == 401)
        #expect(status(await answer(token: "wrong")) == 401)
        let token = try await stage.user()
        // Without Upgrade, Connection, version and key, one at a time.
        for (index, expected) in [400, 426, 426, 400].enumerated() {
            var handshake = Self.handshake
            handshake.remove(at: index)
            #expect(status(await answer(token: token, handshake: handshake)) == expected)
            #expect(status(await answer(handshake: handshake)) == 401)
        }
        let bad = [Header("Sec-WebSocket-Protocol", "a,,b")]
        #expect(status(await answer(token: token, bad)) == 400)
    }

    @Test("A page of another origin may not use the cookie, nor any credential unasked")
    func checksOrigins() async throws {
        let token = try await stage.user()
        let foreign = Header("Origin", "https://evil.example")
        let own = Header("Origin", "http://localhost:8080")
        let cookie = Header("Cookie", "sess=\(token)")
        #expect(status(await answer([cookie, foreign])) == 403)
        #expect(status(await answer([cookie, Header("Origin", "null")])) == 403)
        #expect(status(await answer([cookie, own])) == nil)
        #expect(status(await answer(token: token, [foreign])) == 403)
        #expect(status(await answer(token: token, [own])) == nil)
    }

    private func answer(_ headers: [Header]) async -> RealtimeEndpoint.Answer {
        await answer(token: nil, headers)
    }

    @Test("A closed path is closed to WebSockets too, and a name that is not ours")
    func closesPaths() async throws {
        let token = try await stage.user()
        for path in ["/v1/realtime/sessions", "/v1/%6Frganization/x?model=m"] {
            #expect(status(await answer(path, token: token)) == 403)
            #expect(status(await answer(path)) == 401)
        }
        let misdirected = await endpoint.answer(
            Stage.request(
                "GET", "/v1/realtime", token: token, headers: Self.handshake, host: "a.example",
                serverName: "b.example"))
        #expect(status(misdirected) == 421)
    }

    @Test("The upstream's refusal is passed on, the key masked and what is its own left out")
    func passesRefusals() async throws {
        let call = try call(await answer(token: try await stage.user()))
        let head = UpstreamHead(
            status: 429,
            headers: [
                Header("Content-Type", "text/x"), Header("Content-Length", "99"),
                Header("Transfer-Encoding", "chunked"), Header("Set-Cookie", "a=b"),
                Header("X-Request-Id", "req_1"), Header("Retry-After", "7"),
            ])
        let body = Array("key \(Stage.key.prefix(12))".utf8)
        let response = await endpoint.refused(call, head, body, after: 5)
        #expect(response.status == 429)
        #expect(String(decoding: response.body, as: UTF8.self) == "key ************")
        #expect(value("Content-Length", in: response) == String(body.count))
        #expect(value("Retry-After", in: response) == "7")
        #expect(value("X-Upstream-Request-Id", in: response) == "req_1")
        #expect(value("X-Request-Id", in: response) == "request-1")
        #expect(value("Set-Cookie", in: response) == nil)
        #expect(value("Transfer-Encoding", in: response) == nil)
        let row = try #require(stage.events.closed.last)
        #expect((row.status, row.upstreamStatus, row.end) == (429, 429, .done))
        #expect(row.upstreamRequestID == "req_1" && row.upstreamMicroseconds == 5)
    }

    @Test("A refused key is 502, and a failure what it is for every other call")
    func tellsFailures() async throws {
        let call = try call(await answer(token: try await stage.user()))
        let head = UpstreamHead(status: 401, headers: [Header("WWW-Authenticate", "Bearer")])
        let refused = await endpoint.refused(call, head, Array(Stage.key.utf8), after: 1)
        #expect(refused.status == 502 && value("WWW-Authenticate", in: refused) == nil)
        let body = String(decoding: refused.body, as: UTF8.self)
        #expect(body.contains("upstream_auth") && !body.contains(Stage.key))
        #expect(await endpoint.failed(call, .connectTimeout, after: 1)?.status == 504)
        #expect(await endpoint.failed(call, .cut("x"), after: 1)?.status == 502)
        #expect(await endpoint.failed(call, .cancelled, after: 1) == nil)
        #expect(
            stage.events.closed.map(\.end) == [.error, .timeout, .upstreamCut, .clientGone])
    }

    @Test("The row of a call holds how it ended and the beginnings of what was said")
    func recordsEnds() async throws {
        let call = try call(await answer(token: try await stage.user()))
        var end = RealtimeEnd(.done, detail: "client closed with 1000 \(Stage.key.prefix(12))")
        (end.bytesIn, end.bytesOut, end.upstreamMicroseconds) = (3, 4, 5)
        end.clientTranscript = Array("my key is \(Stage.key)".utf8)
        end.upstreamTranscript = Array("hello\n".utf8)
        await endpoint.ended(call, end)
        let row = try #require(stage.events.closed.last)
        #expect((row.status, row.upstreamStatus, row.end) == (101, 101, .done))
        #expect((row.bytesIn, row.bytesOut, row.upstreamMicroseconds) == (3, 4, 5))
        #expect(row.detail == "client closed with 1000 ************")
        let words = String(decoding: row.requestBody ?? [], as: UTF8.self)
        #expect(words == "my key is " + String(repeating: "*", count: Stage.key.count))
        #expect(row.responseBody == Array("hello\n".utf8))
    }

    @Test("A row's model is that of the query until the upstream tells another")
    func recordsModels() async throws {
        let token = try await stage.user()
        let call = try call(await answer("/v1/responses?model=asked", token: token))
        var end = RealtimeEnd(.done, detail: nil)
        end.usage = Usage(promptTokens: 1, completionTokens: 2)
        await endpoint.ended(call, end)
        end.model = "told"
        await endpoint.ended(call, end)
        let rows = stage.events.closed
        #expect(rows.map(\.model) == ["asked", "told"])
        #expect(rows.map(\.promptTokens) == [1, 1] && rows.map(\.completionTokens) == [2, 2])
    }

    @Test("The headers of a 101 come through without those of the upstream's own handshake")
    func openingHeaders() async throws {
        let call = try call(await answer(token: try await stage.user()))
        let head = UpstreamHead(
            status: 101,
            headers: [
                Header("Upgrade", "websocket"), Header("Connection", "Upgrade, X-Hop"),
                Header("X-Hop", "1"), Header("Sec-WebSocket-Accept", "a"),
                Header("Sec-WebSocket-Protocol", "realtime"), Header("X-RateLimit", "9"),
            ])
        let names = endpoint.openingHeaders(call, head).map(\.name)
        #expect(names == ["X-RateLimit", "Vary", "X-Content-Type-Options", "X-Request-Id"])
    }

    @Test("A call is concerned by the end of its session and of its user's, by nothing else")
    func isAffected() async throws {
        let call = try call(await answer(token: try await stage.user()))
        let other = Revocation(session: Session.ID("x"))
        #expect(call.isAffected(by: Revocation(session: call.sessionID)))
        #expect(call.isAffected(by: Revocation(user: call.userID)))
        #expect(!call.isAffected(by: other) && !call.isAffected(by: Revocation()))
        #expect(!call.isAffected(by: Revocation(user: call.userID, chat: Chat.ID("c"))))
        #expect(try await endpoint.isStillAllowed(call))
        _ = try await stage.storage.store.endSession(
            tokenDigest: call.tokenDigest, now: stage.clock.now())
        #expect(try await !endpoint.isStillAllowed(call))
    }
}
