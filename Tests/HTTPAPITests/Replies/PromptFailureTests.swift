import Formats
@testable import Gateway
import ProxyGPT
import Synchronization
import TestSupport
import Testing

@testable import HTTPAPI

/// What becomes of prompts that the upstream does not answer.
@Suite(.timeLimit(.minutes(5))) struct PromptFailureTests {
    private let stage: Stage
    private let token: String
    private let chat: String

    init() async throws {
        stage = try Stage()
        token = try await stage.user()
        let created = await stage.post("/chat/create", "name=chat", token: token)
        chat = try #require(created.json?["id"]?.stringValue)
    }

    private func prompt(_ more: String = "", headers: [Header] = []) async -> RecordingWriter {
        await stage.post(
            "/chat/prompt", "id=\(chat)&prompt=hello\(more)", token: token, headers: headers)
    }

    private func lastMessage() async throws -> JSONValue {
        let read = await stage.get("/chat/read?id=\(chat)", token: token)
        guard case .array(let messages)? = read.json?["messages"] else { return .null }
        return try #require(messages.last)
    }

    private func look(until condition: () async throws -> Bool) async throws {
        while try await !condition() {
            await stage.api.pollRunningReplies()
            await Task.yield()
        }
    }

    private static func refusal(
        _ status: Int, _ error: String, headers: [Header] = []
    ) -> ScriptedUpstream.Script {
        .init(status: status, headers: headers, steps: [.bytes(#"{"error":\#(error)}"#)])
    }

    @Test func `an upstream's failure keeps the prompt and says what it was`() async throws {
        let cases: [(ScriptedUpstream.Script, Int, String)] = [
            (.init(status: 401), 502, "did not accept this server's key"),
            (.init(failure: .firstByteTimeout), 504, "did not answer in time"),
            (.init(failure: .unreachable("x")), 502, "cannot be reached"),
            (.init(steps: [.bytes("<html>")]), 502, "not a model's reply"),
            (.init(steps: [.bytes("half"), .fail(.cut("x"))]), 502, "broke off"),
            (.init(status: 300), 502, "with status 300"),
        ]
        for (script, status, sentence) in cases {
            stage.upstream.play(script)
            let writer = await prompt()
            #expect(writer.status == status, "\(sentence)")
            #expect(writer.json?["error"]?["message"]?.stringValue?.contains(sentence) == true)
            #expect(writer.json?["error"]?["upstream_message"] == nil)
            let message = try await lastMessage()
            #expect(message["state"]?.stringValue == "failed")
            #expect(message["error"]?["message"]?.stringValue?.contains(sentence) == true)
        }
    }

    @Test(arguments: [
        (400, 400, "their_code", "invalid_request_error"),
        (404, 404, "their_code", "invalid_request_error"),
        (408, 408, "their_code", "invalid_request_error"),
        (413, 413, "their_code", "invalid_request_error"),
        (422, 422, "their_code", "invalid_request_error"),
        (429, 429, "their_code", "rate_limit_error"),
        (402, 502, "upstream_error", "upstream_error"),
        (409, 502, "upstream_error", "upstream_error"),
        (401, 502, "upstream_auth", "upstream_error"),
        (403, 502, "upstream_auth", "upstream_error"),
        (500, 502, "upstream_error", "upstream_error"),
        (503, 502, "upstream_error", "upstream_error"),
    ])
    func `an upstream's refusal is told with its status, and its words stand apart`(
        theirs: Int, status: Int, code: String, type: String
    ) async throws {
        let words = "no room in org-Abc123 for \(Stage.key)"
        stage.upstream.play(
            Self.refusal(
                theirs, #"{"message":"\#(words)","code":"their_code"}"#,
                headers: [Header("Retry-After", "7")]))
        let key = [Header("Idempotency-Key", "key-1")]
        let writer = await prompt(headers: key)
        let error = try #require(writer.json?["error"])
        #expect(writer.status == status)
        #expect(error["code"]?.stringValue == code && error["type"]?.stringValue == type)
        let isTold = theirs != 401
        let shown = "no room in org-*** for \(String(repeating: "*", count: Stage.key.utf8.count))"
        #expect(error["upstream_message"]?.stringValue == (isTold ? shown : nil))
        #expect(error["message"]?.stringValue?.contains("no room") == false)
        #expect(writer.value(of: "Retry-After") == (status == 502 ? nil : "7"))
        let stored = try #require(try await lastMessage()["error"])
        #expect(stored["code"]?.stringValue == code)
        #expect(stored["message"]?.stringValue == error["message"]?.stringValue)
        #expect(stored["upstream_message"]?.stringValue == error["upstream_message"]?.stringValue)
        // Asked again, the same is told: by us, or by an upstream that did not take it the first time.
        let again = await prompt(headers: key)
        #expect(again.status == status && again.text == writer.text)
        #expect(again.value(of: "Retry-After") == writer.value(of: "Retry-After"))
        let isTaken = ![401, 402, 403, 408, 429, 503].contains(theirs)
        #expect(stage.upstream.calls.count == (isTaken ? 1 : 2))
        #expect(!stage.log.all.contains { $0.contains("no room") || $0.contains("0123456789") })
    }

    @Test(arguments: [
        (UpstreamFailure.unreachable("x"), true), (.connectTimeout, true),
        (.firstByteTimeout, false), (.callTimeout, false), (.idleTimeout, false),
        (.cut("x"), false),
    ])
    func `a prompt that did not reach the upstream runs again under its key, and no other does`(
        failure: UpstreamFailure, runsAgain: Bool
    ) async throws {
        let key = [Header("Idempotency-Key", "key-1")]
        stage.upstream.play(.init(failure: failure))
        let first = await prompt(headers: key)
        #expect(first.status != 200)
        stage.upstream.play(.init(steps: [.bytes(#"{"choices":[{"message":{"content":"Hi"}}]}"#)]))
        let second = await prompt(headers: key)
        #expect((second.status == 200) == runsAgain)
        #expect(stage.upstream.calls.count == (runsAgain ? 2 : 1))
        // What has run once does not run again.
        #expect(await prompt(headers: key).text == second.text)
        #expect(stage.upstream.calls.count == (runsAgain ? 2 : 1))
    }

    @Test func `a refusal without a code of its own has ours`() async {
        stage.upstream.play(Self.refusal(429, #"{"message":"slow down","code":null}"#))
        let writer = await prompt()
        #expect(writer.status == 429 && writer.errorCode == "upstream_error")
        #expect(writer.value(of: "Retry-After") == nil)
        stage.upstream.play(.init(status: 413, steps: [.bytes("<html>")]))
        let other = await prompt()
        #expect(other.status == 413 && other.json?["error"]?["upstream_message"] == nil)
    }

    @Test func `an error under status 200 is told with the upstream's words`() async throws {
        let half = #"data: {"choices":[{"delta":{"content":"half of "}}]}"# + "\n\n"
        for error in [
            #"data: {"error":{"message":"out of memory"}}"# + "\n\n",
            #"{"error":"out of memory"}"# + "\n", "event: error\ndata: out of memory\n\n",
        ] {
            stage.upstream.play(.init(steps: [.bytes(half), .bytes(error)]))
            let writer = await prompt()
            #expect(writer.status == 502 && writer.errorCode == "upstream_error")
            let message = try await lastMessage()
            #expect(message["reply"]?.stringValue == "half of ")
            #expect(message["state"]?.stringValue == "failed")
            #expect(message["error"]?["upstream_message"]?.stringValue == "out of memory")
        }
    }

    @Test func `a reply without words fails and says why, one with tool calls is done`()
        async throws
    {
        func choice(_ members: String, _ reason: String) -> ScriptedUpstream.Script {
            let text = #"{"choices":[{"delta":{\#(members)},"finish_reason":"\#(reason)"}]}"#
            return .init(steps: [.bytes("data: \(text)\n\ndata: [DONE]\n\n")])
        }
        for (members, reason, words) in [
            ("", "length", "finish_reason: length"),
            (#""content":"""#, "content_filter", "finish_reason: content_filter"),
            (#""refusal":"I won't.""#, "stop", "I won't."),
        ] {
            stage.upstream.play(choice(members, reason))
            let writer = await prompt()
            #expect(writer.status == 502)
            #expect(writer.json?["error"]?["upstream_message"]?.stringValue == words)
            #expect(try await lastMessage()["state"]?.stringValue == "failed")
        }
        stage.upstream.play(choice(#""tool_calls":[{"index":0}]"#, "tool_calls"))
        #expect(await prompt().status == 200)
        #expect(try await lastMessage()["state"]?.stringValue == "done")
    }

    @Test func `a reply that is too long fails, and what came is kept`() async throws {
        let words = String(repeating: "x", count: 1024 * 1024)
        let event = #"data: {"choices":[{"delta":{"content":"\#(words)"}}]}"# + "\n\n"
        stage.upstream.play(.init(steps: Array(repeating: .bytes(event), count: 5)))
        let writer = await prompt()
        #expect(writer.status == 502 && writer.errorCode == "upstream_error")
        let message = try await lastMessage()
        #expect(message["state"]?.stringValue == "failed")
        #expect(message["reply"]?.stringValue?.utf8.count == Message.replyLimit)
    }

    @Test func `DONE ends a reply although the upstream stays, which is left after two ticks`()
        async throws
    {
        for end in ["data: [DONE]\n\n", "data: [DONE]"] {
            stage.journal.clear()
            let gate = Gate()
            stage.upstream.play(
                .init(steps: [
                    .bytes(#"data: {"choices":[{"delta":{"content":"Hi"}}]}"# + "\n\n"),
                    .bytes(end), .wait(gate),
                ]))
            let writer = await prompt()
            #expect(writer.status == 200 && writer.json?["reply"]?.stringValue == "Hi")
            #expect(writer.json?["message"]?["state"]?.stringValue == "done")
            #expect(!stage.journal.entries.contains("cancel"))
            await stage.api.tick()
            #expect(!stage.journal.entries.contains("cancel"))
            await stage.api.tick()
            #expect(stage.journal.entries.contains("cancel"))
            // The drain ends the call as well, when its wait is over.
            gate.open()
            while stage.journal.entries.filter({ $0 == "cancel" }).count < 2 { await Task.yield() }
        }
    }

    @Test func `behind the last word a connection that breaks or falls silent changes nothing`()
        async throws
    {
        let event = #"data: {"choices":[{"delta":{"content":"Hi"},"finish_reason":"stop"}]}"#
        for failure in [UpstreamFailure.cut("reset"), .idleTimeout] {
            stage.upstream.play(.init(steps: [.bytes(event + "\n\n"), .fail(failure)]))
            let writer = await prompt()
            #expect(writer.status == 200 && writer.json?["reply"]?.stringValue == "Hi")
        }
    }

    @Test func `deltas are whole characters, and the last frame has the failure`() async throws {
        let halves = [#"\ud83e"#, #"\udd80"#].map {
            ScriptedUpstream.Step.bytes(
                #"data: {"choices":[{"delta":{"content":"\#($0)"}}]}"# + "\n\n")
        }
        stage.upstream.play(.init(steps: halves))
        #expect(await prompt("&stream=true").status == 200)
        try await look { stage.bus.frames.last?.content == .ended }
        #expect(
            stage.bus.frames.map(\.content) == [
                .delta("", prompt: "hello"), .delta("🦀", prompt: nil), .ended,
            ])
        let message = try await lastMessage()
        #expect(message["reply"]?.stringValue == "🦀")
        #expect(message["error"]?["message"]?.stringValue == "The upstream broke off its answer.")
    }
}
