import EventLoop
import Formats
@testable import Gateway
import ProxyGPT
import SQLStorage
import Synchronization
import TestSupport
import Testing

@testable import HTTPAPI

/// An upstream's answer of these words.
func stream(_ words: [String], usage: String = "") -> ScriptedUpstream.Script {
    var steps = words.map { word in
        ScriptedUpstream.Step.bytes(
            #"data: {"choices":[{"delta":{"content":"\#(word)"}}]}"# + "\n\n")
    }
    if !usage.isEmpty {
        steps.append(.bytes(#"data: {"choices":[],"usage":\#(usage)}"# + "\n\n"))
    }
    steps.append(.bytes("data: [DONE]\n\n"))
    return ScriptedUpstream.Script(
        headers: [Header("Content-Type", "text/event-stream")], steps: steps)
}

@Suite(.timeLimit(.minutes(5))) struct PromptTests {
    private let stage: Stage
    private let token: String
    private let chat: String

    init() async throws {
        stage = try Stage(["MAX_REPLIES_PER_USER": "2"])
        token = try await stage.user()
        let created = await stage.post("/chat/create", "name=chat", token: token)
        chat = try #require(created.json?["id"]?.stringValue)
        stage.journal.clear()
    }

    private func prompt(
        _ text: String = "hello", _ more: String = "", headers: [Header] = []
    ) async -> RecordingWriter {
        await stage.post(
            "/chat/prompt", "id=\(chat)&prompt=\(text)\(more)", token: token, headers: headers)
    }

    private func messages() async throws -> [JSONValue] {
        let read = await stage.get("/chat/read?id=\(chat)", token: token)
        guard case .array(let messages)? = read.json?["messages"] else { return [] }
        return messages
    }

    private func sent(_ index: Int) throws -> [String] {
        let body = try JSONValue(
            parsing: try #require(stage.upstream.bodies.dropFirst(index).first))
        guard case .array(let turns)? = body["messages"] else { return [] }
        return turns.map {
            "\($0["role"]?.stringValue ?? ""): \($0["content"]?.stringValue ?? "")"
        }
    }

    /// Looks as the worker's ticker does until `condition` holds.
    private func looking(until condition: () async throws -> Bool) async throws {
        while try await !condition() {
            await stage.api.pollRunningReplies()
            await Task.yield()
        }
    }

    @Test func `a reply is answered and stored with what it used`() async throws {
        stage.upstream.play(
            stream(["Hel", "lo"], usage: #"{"prompt_tokens":3,"completion_tokens":2}"#))
        let writer = await prompt()
        #expect(writer.status == 200)
        #expect(writer.json?["reply"]?.stringValue == "Hello")
        let message = try #require(writer.json?["message"])
        #expect(message["state"]?.stringValue == "done")
        #expect(message["model"]?.stringValue == "gpt-3.5-turbo")
        #expect(message["usage"]?["completion_tokens"]?.integerValue == 2)
        #expect(try await messages().first?.encoded == message.encoded)
        let event = try #require(stage.events.closed.first { $0.path == "/chat/prompt" })
        #expect(event.promptTokens == 3 && event.completionTokens == 2)
        #expect(event.chatID == chat && event.model == "gpt-3.5-turbo" && event.end == .done)
        let call = try #require(stage.upstream.calls.first)
        #expect(call.url == Array("https://api.openai.com/v1/chat/completions".utf8))
        #expect(stage.bus.frames.map(\.content) == [.ended])
    }

    @Test func `the message is there before the upstream is called`() async throws {
        let gate = Gate()
        var script = stream(["Hi"])
        script.head = gate
        stage.upstream.play(script)
        async let answer = prompt()
        await stage.journal.wait(for: "start")
        #expect(try await messages().first?["state"]?.stringValue == "pending")
        gate.open()
        #expect(await answer.status == 200)
    }

    @Test func `earlier messages are the context, as many as are asked for`() async throws {
        for word in ["one", "two", "three"] {
            stage.upstream.play(stream(["re-\(word)"]))
            _ = await prompt(word)
        }
        #expect(
            try sent(2) == [
                "user: one", "assistant: re-one", "user: two", "assistant: re-two", "user: three",
            ])
        _ = await prompt("four", "&context=1")
        #expect(try sent(3) == ["user: three", "assistant: re-three", "user: four"])
        _ = await prompt("five", "&context=0")
        #expect(try sent(4) == ["user: five"])
        for wrong in ["-1", "1001", "x"] {
            let refused = await prompt("six", "&context=\(wrong)")
            #expect(refused.json?["error"]?["param"]?.stringValue == "context")
        }
    }

    @Test func `off the record nothing goes upstream, neither now nor later`() async throws {
        let writer = await prompt("secret", "&otr=true")
        #expect(writer.status == 200)
        #expect(writer.json?["message"]?["state"]?.stringValue == "done")
        #expect(stage.upstream.calls.isEmpty)
        stage.upstream.play(stream(["Hi"]))
        _ = await prompt("open")
        #expect(try sent(0) == ["user: open"])
        #expect(try await messages().map { $0["prompt"]?.stringValue } == ["secret", "open"])
        #expect(!stage.events.closed.contains { "\($0)".contains("secret") })
    }

    @Test func `a streamed prompt is answered at once and its words go to the bus`() async throws {
        let gate = Gate()
        var script = stream(["Hel", "lo"])
        script.steps.insert(.wait(gate), at: 1)
        stage.upstream.play(script)
        let writer = await prompt("hello", "&stream=true")
        #expect(writer.json?["message"]?["state"]?.stringValue == "streaming")
        #expect(writer.json?["reply"]?.stringValue == "")
        gate.open()
        try await looking { stage.bus.frames.last?.content == .ended }
        #expect(
            stage.bus.frames.map(\.content) == [
                .delta("", prompt: "hello"), .delta("Hel", prompt: nil),
                .delta("lo", prompt: nil), .ended,
            ])
        #expect(try await messages().first?["reply"]?.stringValue == "Hello")
        try await looking { stage.events.closed.contains { $0.kind == .reply } }
        let events = stage.events.closed.filter { $0.path == "/chat/prompt" }
        #expect(events.map(\.kind) == [.request, .reply])
        #expect(events.map(\.upstreamStatus) == [nil, 200])
    }

    @Test func `a reply that quotes the key is masked, however it is cut`() async throws {
        let stars = String(repeating: "*", count: Stage.key.utf8.count)
        stage.upstream.play(stream(["It is sk-can", "ary-0123", "456789abcdef", ", sk-", "é"]))
        let writer = await prompt()
        #expect(writer.json?["reply"]?.stringValue == "It is \(stars), sk-é")
        stage.upstream.play(stream(["It is sk-can", "ary-0123", "456789abcdef", ", sk-"]))
        _ = await prompt("again", "&stream=true")
        try await looking {
            stage.bus.frames.filter { $0.content == .ended }.count == 2
        }
        let words = stage.bus.frames.compactMap { frame -> String? in
            if case .delta(let words, _) = frame.content { words } else { nil }
        }
        #expect(words.joined() == "It is \(stars), sk-")
        #expect(try await messages().last?["reply"]?.stringValue == "It is \(stars), sk-")
    }

    @Test func `what is refused for stream_options is tried without, and a mere quote is no proof`()
        async throws
    {
        stage.upstream.play(
            .init(status: 400, steps: [.bytes(#"{"error":{"message":"stream_options?"}}"#)]))
        _ = await prompt("one")
        stage.upstream.play(stream(["Hi"]))
        #expect(await prompt("two").status == 200)
        let asked = stage.upstream.bodies.map {
            String(decoding: $0, as: UTF8.self).contains("stream_options")
        }
        #expect(asked == [true, false, true])
    }

    @Test func `a stopped reply keeps what has come`() async throws {
        let gate = Gate()
        var script = stream(["Hel", "lo"])
        script.steps.insert(.wait(gate), at: 1)
        stage.upstream.play(script)
        _ = await prompt("hello", "&stream=true")
        try await looking { stage.bus.frames.count == 2 }
        let id = try #require(try await messages().first?["id"]?.stringValue)
        async let stop = stage.post("/chat/stop", "id=\(chat)&message_id=\(id)", token: token)
        let done = Mutex(false)
        let bus = stage.bus
        async let looks: Void = looking {
            done.withLock { $0 } && bus.frames.last?.content == .ended
        }
        let writer = await stop
        done.withLock { $0 = true }
        try await looks
        #expect(writer.json?["message"]?["state"]?.stringValue == "stopped")
        #expect(writer.json?["reply"]?.stringValue == "Hel")
    }

    @Test func `a deleted chat ends its reply and stays deleted`() async throws {
        var script = stream(["Hi"])
        script.head = Gate()
        stage.upstream.play(script)
        async let answer = prompt()
        await stage.journal.wait(for: "start")
        #expect(await stage.post("/chat/delete", "id=\(chat)", token: token).status == 200)
        let done = Mutex(false)
        async let looks: Void = looking { done.withLock { $0 } }
        #expect(await answer.errorCode == "not_found")
        done.withLock { $0 = true }
        try await looks
        #expect(await stage.get("/chat/read?id=\(chat)", token: token).status == 404)
    }

    @Test func `the same key brings the same message, also while its reply is awaited`()
        async throws
    {
        let key = [Header("Idempotency-Key", "key-1")]
        let gate = Gate()
        var script = stream(["Hi"])
        script.head = gate
        stage.upstream.play(script)
        async let first = prompt("hello", headers: key)
        await stage.journal.wait(for: "start")
        async let second = prompt("hello", headers: key)
        gate.open()
        let done = Mutex(false)
        async let looks: Void = looking { done.withLock { $0 } }
        let answers = await [first.text, second.text]
        done.withLock { $0 = true }
        try await looks
        #expect(answers[0] == answers[1])
        #expect(await prompt("hello", headers: key).text == answers[0])
        #expect(await prompt("other", headers: key).errorCode == "conflict")
        #expect(stage.upstream.calls.count == 1)
    }

    @Test func `a user has so many running replies and no more`() async throws {
        let gate = Gate()
        var script = stream(["Hi"])
        script.head = gate
        stage.upstream.play(script)
        for _ in 0..<2 { #expect(await prompt("hello", "&stream=true").status == 200) }
        let refused = await prompt("hello", "&stream=true")
        #expect(refused.errorCode == "rate_limited" && refused.value(of: "Retry-After") == "1")
        gate.open()
        try await looking {
            stage.bus.frames.filter { $0.content == .ended }.count == 2
        }
        #expect(await prompt("hello").status == 200)
    }

    @Test func `what a prompt must be is said`() async {
        for (body, parameter) in [
            ("prompt=x", "id"), ("id=\(chat)", "prompt"), ("id=\(chat)&prompt=", "prompt"),
            ("id=\(chat)&prompt=x&stream=maybe", "stream"),
            ("id=\(chat)&prompt=x&otr=2", "otr"), ("id=\(chat)&prompt=%00", "prompt"),
        ] {
            let writer = await stage.post("/chat/prompt", body, token: token)
            #expect(writer.status == 400, "\(body)")
            #expect(writer.json?["error"]?["param"]?.stringValue == parameter, "\(body)")
        }
        let long = String(repeating: "x", count: Message.promptLimit + 1)
        #expect(await prompt(long).status == 413)
        #expect(stage.upstream.calls.isEmpty)
    }
}
