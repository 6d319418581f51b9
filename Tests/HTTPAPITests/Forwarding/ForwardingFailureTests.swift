@testable import Gateway
import HTTPAPI
import ProxyGPT
import Testing

/// What the caller learns of an upstream that fails, and what the row keeps.
@Suite(.timeLimit(.minutes(5))) struct ForwardingFailureTests {
    private let stage: Stage

    init() throws {
        stage = try Stage()
    }

    @Test(
        "An upstream that gives no answer becomes 502 or 504",
        arguments: [
            (UpstreamFailure.unreachable("no route"), 502, "upstream_error", Event.End.error),
            (.cut("reset"), 502, "upstream_error", .upstreamCut),
            (.connectTimeout, 504, "upstream_timeout", .timeout),
            (.firstByteTimeout, 504, "upstream_timeout", .timeout),
            (.callTimeout, 504, "upstream_timeout", .timeout),
            (.idleTimeout, 504, "upstream_timeout", .timeout),
        ])
    func mapsFailures(failure: UpstreamFailure, status: Int, code: String, end: Event.End)
        async throws
    {
        let token = try await stage.user()
        stage.upstream.play(.init(failure: failure))
        let writer = await stage.post("/v1/chat/completions", "{}", token: token)
        #expect(writer.status == status)
        #expect(writer.errorCode == code)
        #expect(stage.events.closed.map(\.end) == [end])
        #expect(stage.events.closed.first?.status == status)
        #expect(stage.journal.entries.last == "finish")
    }

    @Test("An answer that breaks off before a byte of it has left becomes an error")
    func mapsEarlyCuts() async throws {
        let token = try await stage.user()
        stage.upstream.play(
            .init(headers: [Header("Content-Length", "9")], steps: [.fail(.cut("reset"))]))
        let writer = await stage.get("/v1/models", token: token)
        #expect(writer.status == 502)
        #expect(stage.events.closed.map(\.end) == [.upstreamCut])
        #expect(stage.journal.entries.contains("cancel"))
    }

    @Test(
        "An answer that breaks off in the middle is aborted, never ended",
        arguments: [
            (UpstreamFailure.cut("reset"), Event.End.upstreamCut), (.idleTimeout, .timeout),
            (.callTimeout, .timeout),
        ])
    func abortsLateCuts(failure: UpstreamFailure, end: Event.End) async throws {
        let token = try await stage.user()
        for headers in [
            [], [Header("Content-Length", "99")], [Header("Content-Type", "text/event-stream")],
        ] {
            stage.journal.clear()
            stage.upstream.play(.init(headers: headers, steps: [.bytes("half"), .fail(failure)]))
            let writer = await stage.get("/v1/models", token: token)
            #expect(writer.status == 200)
            #expect(writer.text == "half")
            #expect(stage.journal.entries.suffix(3) == ["close?", "closed", "abort"])
            #expect(!stage.journal.entries.contains("finish"))
        }
        #expect(stage.events.closed.map(\.end) == [end, end, end])
        #expect(stage.events.closed.map(\.bytesOut) == [4, 4, 4])
    }

    @Test("The upstream's 401 becomes 502 with the code upstream_auth, and is logged")
    func hidesRefusedKeys() async throws {
        let token = try await stage.user()
        let quoted = #"{"error":{"message":"Incorrect API key provided: \#(Stage.key)."}}"#
        stage.upstream.play(
            .init(
                status: 401, headers: [Header("WWW-Authenticate", "Bearer")],
                steps: [.bytes(quoted)]))
        let writer = await stage.post("/v1/chat/completions", "{}", token: token)
        #expect(writer.status == 502)
        #expect(writer.errorCode == "upstream_auth")
        #expect(writer.value(of: "WWW-Authenticate") == nil)
        #expect(writer.value(of: "x-should-retry") == "false")
        #expect(!writer.text.contains("Incorrect"))
        let row = try #require(stage.events.closed.first)
        #expect(row.status == 502 && row.upstreamStatus == 401 && row.end == .error)
        #expect(stage.log.all.contains { $0.contains("upstream refused the key") })
        #expect(stage.journal.entries.contains("cancel"))
    }

    @Test("Other errors of the upstream pass as they are, the key masked in body and headers")
    func passesErrorsMasked() async throws {
        let token = try await stage.user()
        let half = String(Stage.key.prefix(12))
        stage.upstream.play(
            .init(
                status: 429,
                headers: [Header("Retry-After", "7"), Header("X-Debug", "key \(Stage.key)")],
                steps: [
                    .bytes("your key \(half)"), .bytes("\(Stage.key.dropFirst(12)) and \(half)…"),
                ]))
        let writer = await stage.post("/v1/chat/completions", "{}", token: token)
        #expect(writer.status == 429)
        #expect(writer.value(of: "Retry-After") == "7")
        let stars = String(repeating: "*", count: 26)
        #expect(writer.value(of: "X-Debug") == "key \(stars)")
        #expect(writer.text == "your key \(stars) and ************…")
    }

    @Test("The key is in no answer, no row and no log, wherever the upstream quotes it")
    func keepsTheKey() async throws {
        let token = try await stage.user()
        for status in [200, 201, 400, 401, 500] {
            stage.upstream.play(
                .init(
                    status: status, headers: [Header("X-Request-Id", "id-\(Stage.key)")],
                    steps: [
                        .bytes("it is \(Stage.key.prefix(9))"),
                        .bytes("\(Stage.key.dropFirst(9)) there"),
                    ]))
            let writer = await stage.post("/v1/chat/completions", "say \(Stage.key)", token: token)
            #expect(!"\(writer.headers) \(writer.text)".contains("canary"))
        }
        for row in stage.events.closed {
            let bodies = [row.requestBody, row.responseBody].map {
                String(decoding: $0 ?? [], as: UTF8.self)
            }
            #expect(!"\(row) \(bodies)".contains("canary"))
        }
        #expect(stage.events.closed.count == 5)
        #expect(!stage.log.all.joined().contains("canary"))
        // It went nowhere but to the adapter, which adds it itself.
        #expect(
            !"\(stage.upstream.calls.map { "\(String(decoding: $0.url, as: UTF8.self)) \($0.headers)" })"
                .contains("canary"))
    }

    @Test("A body over the limit is refused by its length, or as soon as it has grown so large")
    func limitsBodies() async throws {
        let stage = try Stage(["MAX_BODY": "10"])
        let token = try await stage.user()
        #expect(await stage.post("/v1/files", "01234567890", token: token).status == 413)
        #expect(stage.upstream.calls.isEmpty)
        let unknown = Stage.request(
            "POST", "/v1/files", token: token, pieces: ["01234", "56789", "0"])
        let writer = await stage.serve(unknown)
        #expect(writer.status == 413)
        #expect(writer.errorCode == "too_large")
        stage.upstream.play(.init())
        #expect(await stage.post("/v1/files", "0123456789", token: token).status == 200)
        #expect(stage.upstream.bodies.last == Array("0123456789".utf8))
    }

    @Test("A path that a deployment does not serve is 404 without a call")
    func refusesUnservedPaths() async throws {
        let stage = try Stage([
            "API_URL": "https://r.openai.azure.com/openai/deployments/d/completions?api-version=1"
        ])
        let token = try await stage.user()
        let writer = await stage.post("/v1/assistants", "{}", token: token)
        #expect(writer.status == 404)
        #expect(writer.text.contains("/v1/assistants"))
        #expect(stage.upstream.calls.isEmpty)
    }
}
