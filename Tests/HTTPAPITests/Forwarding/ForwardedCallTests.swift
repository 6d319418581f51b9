@testable import Gateway
@testable import HTTPAPI
import ProxyGPT
import Testing

/// What of a call goes upstream, what of the answer comes back, and what the row says of both.
@Suite(.timeLimit(.minutes(5))) struct ForwardedCallTests {
    private let stage: Stage

    init() throws {
        stage = try Stage()
    }

    @Test("A query that is no UTF-8 goes upstream as it came, and its path alone into the row")
    func forwardsTheQuerysBytes() async throws {
        let token = try await stage.user()
        let odd: [UInt8] = [0xFF, 0x26, 0xC3, 0x3D, 0x80]
        for (path, status) in [("/v1/models", 200), ("/user/read", 400), ("/v1/a\u{FFFD}b", 200)] {
            let raw = Array((path + "?").utf8) + odd
            let answer = await stage.serve(
                Stage.request(
                    "GET", String(decoding: raw, as: UTF8.self), rawTarget: raw, token: token))
            #expect(answer.status == status, "\(path)")
            guard status == 200 else { continue }
            let url = Array("https://api.openai.com\(path)?".utf8) + odd
            #expect(stage.upstream.calls.last?.url == url)
            #expect(stage.events.closed.last?.path == path)
        }
    }

    @Test("Method, path, query and body go upstream as they came")
    func forwardsVerbatim() async throws {
        let token = try await stage.user()
        for method in ["POST", "PUT", "PATCH", "DELETE"] {
            let target = "/v1/unknown/a%20b;c?x=%2F&&y=+#".dropLast()
            await stage.serve(
                Stage.request(
                    method, String(target), token: token, body: "\u{1}bytes",
                    pieces: ["\u{1}by", "tes"]))
            let call = try #require(stage.upstream.calls.last)
            #expect(call.method == method)
            #expect(
                call.url
                    == Array("https://api.openai.com/v1/unknown/a%20b;c?x=%2F&&y=+".utf8))
            #expect(stage.upstream.bodies.last == Array("\u{1}bytes".utf8))
            #expect(call.body?.length == 6)
        }
        await stage.get("/v1/models", token: token)
        #expect(stage.upstream.calls.last?.body == nil)
        await stage.post("/v1/threads", "", token: token)
        #expect(stage.upstream.calls.last?.body != nil)
    }

    @Test("Only headers of the list go upstream, and nothing of ours")
    func forwardsListedHeaders() async throws {
        let token = try await stage.user()
        let passing = [
            Header("Content-Type", "application/json"), Header("ACCEPT", "text/event-stream"),
            Header("Accept-Language", "de"), Header("OpenAI-Beta", "assistants=v2"),
            Header("Idempotency-Key", "k"), Header("X-Stainless-Lang", "python"),
            Header("User-Agent", "curl"),
            Header("traceparent", "00-1"), Header("tracestate", "a=b"), Header("Baggage", "c"),
            Header("B3", "d"),
            Header("X-B3-TraceId", "e"), Header("Content-Encoding", "gzip"),
            Header("Content-Language", "de"), Header("Range", "bytes=0-1"),
            Header("If-Range", "x"), Header("If-Match", "x"), Header("If-None-Match", "x"),
            Header("If-Modified-Since", "x"), Header("If-Unmodified-Since", "x"),
            Header("Prefer", "wait"), Header("X-Client-Request-Id", "x"),
            Header("Anthropic-Version", "x"), Header("anthropic-beta", "x"),
            Header("HTTP-Referer", "x"), Header("Referer", "x"), Header("X-Title", "x"),
            Header("Session-Id", "x"), Header("thread-id", "x"), Header("Originator", "x"),
            Header("X-Codex-Turn", "x"), Header("X-Title", bytes: [0x61, 0xE9]),
        ]
        let held = [
            "Cookie", "Forwarded", "X-Forwarded-For", "X-Forwarded-Proto", "X-Real-IP",
            "Connection", "TE",
            "Transfer-Encoding", "Upgrade", "Proxy-Authorization", "Expect", "Accept-Encoding",
            "api-key", "Origin", "x-api-key", "X-Team-Name", "Sessions-Id", "X-Codex",
            "OpenAI-Organization", "OpenAI-Project", "X-Request-Id", "Host",
            "Content-Length",
            "X-Stainless", "Via",
        ].map { Header($0, "no") }
        await stage.post("/v1/chat/completions", "{}", token: token, headers: passing + held)
        #expect(stage.upstream.calls.last?.headers == passing)
    }

    @Test("What FORWARD_HEADERS names goes upstream as well")
    func forwardsNamedHeaders() async throws {
        let stage = try Stage(["FORWARD_HEADERS": "X-Team-*, x-tenant"])
        let token = try await stage.user()
        let passing = [Header("X-Team-Name", "a"), Header("X-Tenant", bytes: [0xFF])]
        let held = [Header("X-Team", "no"), Header("Cookie", "no"), Header("X-Tenants", "no")]
        await stage.post("/v1/chat/completions", "{}", token: token, headers: held + passing)
        #expect(stage.upstream.calls.last?.headers == passing)
    }

    @Test("A body of length 0 is announced, whatever the method")
    func keepsLengthZero() async throws {
        let token = try await stage.user()
        for method in ["DELETE", "GET", "POST"] {
            await stage.serve(
                Stage.request(method, "/v1/threads/t", token: token, body: "", pieces: []))
            #expect(stage.upstream.calls.last?.body?.length == 0)
            await stage.serve(Stage.request("DELETE", "/v1/threads/t", token: token))
            #expect(stage.upstream.calls.last?.body == nil)
        }
    }

    @Test("The answer's status and headers pass but for those that are for the next hop")
    func passesHeaders() async throws {
        let token = try await stage.user()
        let passing = [
            Header("Content-Type", "application/json"), Header("X-RateLimit-Remaining", "1"),
            Header("openai-processing-ms", "7"), Header("Retry-After", "3"), Header("X-A", "1"),
            Header("x-a", "2"),
            Header("Location", "https://elsewhere.example/"), Header("Vary", "Accept"),
            Header("ETag", "\"e\""), Header("X-Raw", bytes: [0x61, 0xE9]),
        ]
        let dropped =
            [
                "Keep-Alive", "Proxy-Authenticate", "TE", "Trailer", "Transfer-Encoding", "Upgrade",
                "Set-Cookie",
                "OpenAI-Organization", "OpenAI-Project", "Status", "X-Accel-Redirect",
                "x-accel-buffering",
                "X-ACCEL-Expires", "Access-Control-Allow-Origin", "Alt-Svc",
                "Strict-Transport-Security",
                "Clear-Site-Data", "Refresh", "Server", "Date", "X-Content-Type-Options",
                "Content-Security-Policy",
                "X-Upstream-Request-Id", "X-Hop", "NEL", "Report-To", "Reporting-Endpoints",
                "Content-Security-Policy-Report-Only", "Service-Worker-Allowed", "Accept-CH",
                "Critical-CH", "Origin-Trial", "Onion-Location", "Set-Cookie2", "Public-Key-Pins",
                "Public-Key-Pins-Report-Only", "Expect-CT", "SourceMap", "X-SourceMap",
                "X-Sendfile", "Timing-Allow-Origin", "Cross-Origin-Resource-Policy",
                "cross-origin-opener-policy", "Cross-Origin-Anything", "Surrogate-Control",
                "CDN-Cache-Control", "Cloudflare-CDN-Cache-Control",
            ].map { Header($0, "no") } + [Header("Connection", "close, X-Hop")]
        stage.upstream.play(
            .init(
                status: 418, headers: passing + dropped + [Header("x-request-id", "up-1")],
                steps: [.bytes("x")]))
        let writer = await stage.get("/v1/models", token: token)
        #expect(writer.status == 418)
        let times = writer.headers.filter { $0.name == "Server-Timing" }
        #expect(times.count == 1 && times.first?.value.contains("total;dur=") == true)
        #expect(
            writer.headers.filter { $0.name != "Server-Timing" } == passing + [
                Header("X-Upstream-Request-Id", "up-1"), Header("Vary", "Authorization, Cookie"),
                Header("X-Content-Type-Options", "nosniff"),
                Header("Content-Security-Policy", "sandbox; default-src 'none'"),
                Header("Cross-Origin-Resource-Policy", "same-origin"),
                Header("X-Request-Id", "request-1"),
                Header("X-Accel-Buffering", "no"),
            ])
        #expect(stage.events.closed.first?.upstreamRequestID == "up-1")
    }

    @Test(
        "No cache may serve an answer to others",
        arguments: [
            ("public, max-age=60", "private, max-age=60"), ("PUBLIC", "private"),
            ("max-age=60, s-maxage=600", "private, max-age=60"), ("S-MaxAge=1", "private"),
            ("public, private", "private"), ("private, s-maxage=1", "private"),
            ("no-store", "no-store"), ("max-age=60 ,no-cache", "max-age=60 ,no-cache"), ("", ""),
            ("private=\"a, b\", max-age=1", "private=\"a, b\", max-age=1"),
        ])
    func answersArePersonal(_ sent: String, _ told: String) async throws {
        let token = try await stage.user()
        stage.upstream.play(.init(headers: [Header("cache-control", sent)], steps: [.bytes("x")]))
        let writer = await stage.get("/v1/models", token: token)
        let values = writer.headers.filter { $0.name == "cache-control" }.map(\.value)
        #expect(values == [told])
        #expect(writer.value(of: "Vary") == "Authorization, Cookie")
    }

    @Test("The row of a call has its user, model and tokens")
    func recordsTheCall() async throws {
        let token = try await stage.user()
        stage.upstream.play(
            .init(
                headers: [Header("Content-Type", "application/json")],
                steps: [
                    .bytes(#"{"model":"gpt-4-0613","usage":{"prompt_tokens":3,"#),
                    .bytes(#""completion_tokens":4}}"#),
                ]))
        let body = #"{"model":"gpt-4","messages":[]}"#
        await stage.post(
            "/v1/chat/completions?secret=1", body, token: token,
            headers: [Header("Content-Type", "application/json")])
        let row = try #require(stage.events.closed.first)
        #expect(row.kind == .forward)
        #expect(row.requestID == "request-1")
        #expect(row.clientAddress == "192.0.2.1")
        #expect(row.method == "POST" && row.path == "/v1/chat/completions")
        #expect(row.status == 200 && row.upstreamStatus == 200 && row.end == .done)
        #expect(row.userID != nil)
        #expect(row.model == "gpt-4-0613")
        #expect(row.promptTokens == 3 && row.completionTokens == 4)
        #expect(row.bytesIn == Int64(body.utf8.count) && row.bytesOut == 72)
        #expect(row.durationMicroseconds != nil && row.upstreamMicroseconds != nil)
        #expect(row.requestBody == Array(body.utf8))
        #expect(row.responseBody?.count == 72)
    }

    @Test("Bodies are kept up to 16 KiB, or not at all where the operator says so")
    func cutsBodies() async throws {
        let long = String(repeating: "x", count: 20_000)
        for keeps in [true, false] {
            let stage = try Stage(["EVENT_BODIES": keeps ? "on" : "off"])
            let token = try await stage.user()
            stage.upstream.play(.init(steps: [.bytes(long), .bytes(long)]))
            #expect(await stage.post("/v1/files", long, token: token).text.utf8.count == 40_000)
            let row = try #require(stage.events.closed.first)
            #expect(row.requestBody?.count == (keeps ? 16_384 : nil))
            #expect(row.responseBody?.count == (keeps ? 16_384 : nil))
            #expect(row.bytesIn == 20_000 && row.bytesOut == 40_000)
        }
    }

    @Test("The model of a request counts where the answer names none")
    func readsTheRequestsModel() async throws {
        let token = try await stage.user()
        stage.upstream.play(.init(status: 500, steps: [.bytes("no JSON")]))
        let json = [Header("Content-Type", "application/json; charset=utf-8")]
        await stage.post(
            "/v1/completions", #"{"a":{"model":"no"},"model":"mock"}"#, token: token, headers: json)
        await stage.post("/v1/files", #"{"model":"mock"}"#, token: token)
        #expect(stage.events.closed.map(\.model) == ["mock", nil])
        #expect(stage.events.closed.map(\.end) == [.done, .done])
    }

    @Test("HEAD is answered without a body")
    func answersHead() async throws {
        let token = try await stage.user()
        stage.upstream.play(.init(headers: [Header("Content-Length", "1234")]))
        let writer = await stage.serve(Stage.request("HEAD", "/v1/models", token: token))
        #expect(writer.status == 200 && writer.text == "")
        #expect(writer.value(of: "Content-Length") == "1234")
        #expect(stage.journal.entries.suffix(2) == ["begin 200", "finish"])
    }
}
