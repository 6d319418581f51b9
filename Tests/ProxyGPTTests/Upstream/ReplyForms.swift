import ProxyGPT

/// The object of an event with this delta, as JSON.
private func chunk(_ content: String, finish: String = "null", index: Int = 0) -> String {
    #"{"choices":[{"index":\#(index),"delta":{"content":\#(content)},"finish_reason":\#(finish)}]}"#
}

private func event(_ data: String) -> String { "data: \(data)\n\n" }

private func say(_ content: String) -> String { event(chunk("\"\(content)\"")) }

private let done = "data: [DONE]\n\n"
private let stop = event(chunk("\"\"", finish: "\"stop\""))

private func whole(_ message: String, finish: String = #""stop""#) -> String {
    #"{"choices":[{"index":0,"message":\#(message),"finish_reason":\#(finish)}]}"#
}

private func told(_ message: String?, code: String? = nil) -> ReplyReader.Problem {
    .reported(UpstreamError(message: message, code: code))
}

private func noWords(_ reason: String? = nil, refusal: String? = nil) -> ReplyReader.Problem {
    .empty(finishReason: reason, refusal: refusal)
}

extension ReplyForm {
    static let all =
        ends + passedOver + characters + contents + ollama + errors + wordless + choices + usages

    // MARK: - Where a reply ends

    private static let ends = [
        ReplyForm("DONE", say("Hi") + done, .reply("Hi"), isDone: true),
        ReplyForm(
            "DONE without a space", say("Hi") + "data:[DONE]\n\n", .reply("Hi"), isDone: true),
        ReplyForm(
            "DONE among spaces", say("Hi") + "data:   [ DONE ]  \n\n", .reply("Hi"), isDone: true),
        ReplyForm(
            "DONE without a line's end", say("Hi") + "data: [DONE]", .reply("Hi"), isDone: true),
        ReplyForm("DONE without data", say("Hi") + "[DONE]\n", .reply("Hi"), isDone: true),
        ReplyForm(
            "what follows DONE", say("Hi") + done + say("more") + event(#"{"error":"late"}"#),
            .reply("Hi"), isDone: true),
        ReplyForm("DONE alone", done, .problem(noWords()), isDone: true),
        ReplyForm("no DONE, a finish reason", say("Hi") + stop, .reply("Hi")),
        ReplyForm(
            "a last line without its end",
            "data: " + chunk("\"Hi\"", finish: "\"length\""), .reply("Hi")),
        ReplyForm("a stream cut between events", say("Hi"), .problem(.incomplete, kept: "Hi")),
        ReplyForm(
            "a stream cut within an event", say("Hi") + #"data: {"choices":[{"del"#,
            .problem(.incomplete, kept: "Hi")),
        ReplyForm("a text cut", #"{"choices":[{"message":{"content":"Hi"#, .problem(.incomplete)),
        ReplyForm("nothing", "", .problem(.malformed)),
        ReplyForm("comments alone", ": a\n\n: b\n\n", .problem(.malformed)),
        ReplyForm("HTML", "<html>\n<p>Log in: {here}\n</html>", .problem(.malformed)),
        ReplyForm("an object of something else", "{}", .problem(.malformed)),
        ReplyForm("no choices", #"{"choices":[]}"#, .problem(.incomplete)),
    ]

    // MARK: - What is passed over

    private static let passedOver = [
        ("a comment", ": OPENROUTER PROCESSING\n\n"), ("a bare colon", ":\n"),
        ("empty data", "data:\n\n"), ("data without a colon", "data\n\n"),
        ("null", event("null")), ("a number", event("17")), ("a word", event("ping")),
        ("a list", event(#"[{"choices":[{"delta":{"content":"no"}}]}]"#)),
        ("a string", event(#""[DONE]""#)), ("broken JSON", event("{no json")),
        ("JSON that breaks off", event(#"{"choices":[{"delta":{"content":"no"#)),
        ("another bracket", event("[DONT]")), ("a comma too many", event(#"{"a":1,}"#)),
        ("a wrong bracket", event(#"{"a":[1}"#)), ("a wrong escape", event(#"{"a":"\x"}"#)),
        ("a wrong word", event(#"{"a":nil}"#)), ("a wrong hexadecimal", event(#"{"a":"\u12G4"}"#)),
        ("a nest", event(#"{"a":"# + String(repeating: "[", count: 70))),
        ("another event", "event: ping\ndata: {\"type\":\"ping\"}\n\n"),
        ("id and retry", "id: 7\nretry: 3000\n\n"), ("a field of no standard", "database: x\n\n"),
        ("an empty object", event("{}")), ("no choice", event(#"{"choices":[]}"#)),
        ("null choices", event(#"{"choices":null,"error":null}"#)),
        (
            "Azure's first event",
            event(#"{"choices":[],"prompt_filter_results":[{"a":{"b":[1]}}]}"#)
        ),
        ("a role", event(#"{"choices":[{"delta":{"role":"assistant","content":""}}]}"#)),
        ("null content", event(chunk("null"))), ("false error", event(#"{"error":false}"#)),
        ("reasoning", event(#"{"choices":[{"delta":{"reasoning_content":"hm","content":null}}]}"#)),
        ("infinities", event(#"{"a":[NaN,Infinity,-Infinity,-1.5e+300]}"#)),
        ("a text that breaks off on a line", "{\"choices\":\n"),
    ].map { name, text in
        ReplyForm(
            "passed over: \(name)", say("He") + text + say("llo") + done, .reply("Hello"),
            isDone: true)
    }

    // MARK: - Characters

    private static let characters = [
        ReplyForm("an emoji as it is", say("a🦀b") + done, .reply("a🦀b"), isDone: true),
        ReplyForm("an emoji escaped", say(#"\ud83e\udd80"#) + done, .reply("🦀"), isDone: true),
        ReplyForm(
            "an emoji cut over two deltas", say(#"a\ud83e"#) + say(#"\udd80b"#) + done,
            .reply("a🦀b"), isDone: true),
        ReplyForm(
            "an emoji cut, with a heartbeat between",
            say(#"\uD83E"#) + ": x\n\n" + say("") + say(#"\uDD80"#) + done, .reply("🦀"),
            isDone: true),
        ReplyForm(
            "an emoji's bytes cut over two deltas",
            bytes: Array(say("§").utf8).cut(with: [0xF0, 0x9F])
                + Array(say("§").utf8).cut(with: [0xA6, 0x80]) + Array(done.utf8), .reply("🦀"),
            isDone: true),
        ReplyForm(
            "half an emoji", say(#"a\ud83eb"#) + done, .reply("a\u{FFFD}b"), isDone: true),
        ReplyForm(
            "the other half", say(#"\udd80"#) + done, .reply("\u{FFFD}"), isDone: true),
        ReplyForm(
            "two first halves", say(#"\ud83e\ud83e\udd80"#) + done, .reply("\u{FFFD}🦀"),
            isDone: true),
        ReplyForm(
            "half an emoji at the end", say(#"Hi\ud83e"#) + stop, .reply("Hi\u{FFFD}")),
        ReplyForm(
            "bytes that are no UTF-8",
            bytes: Array(say("a§b").utf8).cut(with: [0xFF]) + Array(done.utf8),
            .reply("a\u{FFFD}b"), isDone: true),
        ReplyForm("null characters", say(#"\u0000a\u0000b"#) + done, .reply("ab"), isDone: true),
        ReplyForm(
            "escapes", say(#"\"\\\/\b\f\n\r\t\u00e9\u20ac"#) + done,
            .reply("\"\\/\u{8}\u{c}\n\r\té€"), isDone: true),
        ReplyForm(
            "combining marks", say("e") + say("\u{301}") + done, .reply("e\u{301}"), isDone: true),
        ReplyForm(
            "names in escapes",
            event(#"{"ch\u006fices":[{"delta":{"c\u006fntent":"Hi"}}]}"#) + done, .reply("Hi"),
            isDone: true),
        ReplyForm("a byte order mark", "\u{FEFF}" + say("Hi") + done, .reply("Hi"), isDone: true),
        ReplyForm(
            "a tab in a string", say("a\tb") + done, .reply("a\tb"), isDone: true),
    ]

    // MARK: - Content

    private static let contents = [
        ReplyForm(
            "a list of parts",
            event(chunk(#"[{"type":"text","text":"He"},{"text":"llo","type":"text"}]"#)) + done,
            .reply("Hello"), isDone: true),
        ReplyForm(
            "parts without a type", event(chunk(#"[{"text":"Hi"}]"#)) + done, .reply("Hi"),
            isDone: true),
        ReplyForm(
            "strings for parts", event(chunk(#"["He","llo"]"#)) + done, .reply("Hello"),
            isDone: true),
        ReplyForm(
            "one part", event(chunk(#"{"type":"text","text":"Hi"}"#)) + done, .reply("Hi"),
            isDone: true),
        ReplyForm(
            "parts that are no text",
            event(
                chunk(
                    #"[{"type":"thinking","thinking":[{"type":"text","text":"hm"}]},{"type":"image_url","text":"no"},{"type":"text","text":"Hi"}]"#
                )) + done, .reply("Hi"), isDone: true),
        ReplyForm(
            "an emoji cut over parts",
            event(chunk(#"[{"text":"\ud83e"},{"type":"x","text":"no"},{"text":"\udd80"}]"#)) + done,
            .reply("🦀"), isDone: true),
        ReplyForm(
            "a message in an event", event(whole(#"{"content":"Hi"}"#)) + done, .reply("Hi"),
            isDone: true),
        ReplyForm(
            "a message in an event, and the end",
            event(whole(#"{"content":"Hi"}"#, finish: "null")),
            .reply("Hi")),
        ReplyForm(
            "the message beside each delta",
            event(#"{"choices":[{"delta":{"content":"He"},"message":{"content":"He"}}]}"#)
                + event(#"{"choices":[{"message":{"content":"Hello"},"delta":{"content":"llo"}}]}"#)
                + event(whole(#"{"content":"Hello"}"#)) + done, .reply("Hello"), isDone: true),
        ReplyForm("a JSON text", whole(#"{"role":"assistant","content":"Hi"}"#), .reply("Hi")),
        ReplyForm(
            "a JSON text over lines",
            "\r\n {\r\n  \"choices\": [\r\n\r\n    {\"message\": {\"content\": \"Hi\"}}\r\n  ]\r\n}\r\n",
            .reply("Hi")),
        ReplyForm("an older completion", #"{"choices":[{"text":"Hi","index":0}]}"#, .reply("Hi")),
        ReplyForm(
            "an older completion, streamed",
            event(#"{"choices":[{"text":"He"}]}"#) + event(#"{"choices":[{"text":"llo"}]}"#) + done,
            .reply("Hello"), isDone: true),
        ReplyForm(
            "JSON lines", chunk("\"He\"") + "\n" + chunk("\"llo\"", finish: "\"stop\"") + "\n",
            .reply("Hello")),
        ReplyForm(
            "an event over lines of data",
            "data: {\"choices\":\ndata: [{\"delta\":\r\nid: 1\ndata:{\"content\":\"Hi\"}}]}\n\n"
                + done,
            .reply("Hi"), isDone: true),
        ReplyForm(
            "events without empty lines",
            "data: \(chunk("\"He\""))\ndata: \(chunk("\"llo\""))\ndata: [DONE]\n", .reply("Hello"),
            isDone: true),
        ReplyForm(
            "two objects on a line", event(chunk("\"He\"") + chunk("\"llo\"")) + done,
            .reply("Hello"), isDone: true),
        ReplyForm(
            "lines that end with CR", (say("He") + say("llo") + done).replacingLines("\r"),
            .reply("Hello"), isDone: true),
        ReplyForm(
            "lines that end with CR and LF", (say("He") + say("llo") + done).replacingLines("\r\n"),
            .reply("Hello"), isDone: true),
    ]

    // MARK: - Ollama

    private static let ollama = [
        ReplyForm(
            "Ollama's chat",
            #"{"model":"m","message":{"role":"assistant","content":"He"},"done":false}"# + "\n"
                + #"{"model":"m","message":{"content":"llo"},"done":false}"# + "\n"
                + #"{"message":{"content":""},"done_reason":"stop","done":true,"prompt_eval_count":3,"eval_count":2}"#
                + "\n", .reply("Hello", Usage(promptTokens: 3, completionTokens: 2)), isDone: true),
        ReplyForm(
            "Ollama's completion",
            #"{"response":"He","done":false}"# + "\n" + #"{"response":"llo","done":false}"# + "\n"
                + #"{"response":"","done":true,"context":[1,2]}"#, .reply("Hello"), isDone: true),
        ReplyForm(
            "Ollama's chat as one text", #"{"message":{"content":"Hi"},"done":true}"#, .reply("Hi"),
            isDone: true),
        ReplyForm("a message alone", #"{"message":{"content":"Hi"}}"#, .reply("Hi")),
        ReplyForm(
            "Ollama's chat, cut", #"{"message":{"content":"He"},"done":false}"# + "\n",
            .problem(.incomplete, kept: "He")),
        ReplyForm(
            "Ollama's lines as events",
            event(#"{"message":{"content":"Hi"},"done":false}"#)
                + event(#"{"message":{"content":""},"done":true}"#), .reply("Hi"), isDone: true),
        ReplyForm(
            "Ollama's error",
            #"{"response":"He","done":false}"# + "\n" + #"{"error":"out of memory"}"#,
            .problem(told("out of memory"), kept: "He")),
    ]

    // MARK: - Errors

    private static let errors = [
        ReplyForm(
            "an error in an event", say("He") + event(#"{"error":{"message":"hot","code":"c"}}"#),
            .problem(told("hot", code: "c"), kept: "He")),
        ReplyForm(
            "an error on a bare line",
            say("He") + #"{"error":{"message":"hot","code":503}}"# + "\n",
            .problem(told("hot", code: "503"), kept: "He")),
        ReplyForm("an error as text", event(#"{"error":"hot"}"#), .problem(told("hot"))),
        ReplyForm(
            "an error as JSON", #"{"error":{"message":"hot","code":null}}"#, .problem(told("hot"))),
        ReplyForm(
            "an error with a type alone", #"{"error":{"type":"hot"}}"#, .problem(told("hot"))),
        ReplyForm("an error without a reason", #"{"error":{}}"#, .problem(told(nil))),
        ReplyForm(
            "an error that is true", #"{"error":true,"message":"hot"}"#, .problem(told("hot"))),
        ReplyForm(
            "an error beside a choice",
            event(
                #"{"error":{"message":"hot"},"choices":[{"delta":{"content":"He"},"finish_reason":"error"}]}"#
            ), .problem(told("hot"), kept: "He")),
        ReplyForm(
            "an error within a choice", #"{"choices":[{"error":{"message":"hot","code":502}}]}"#,
            .problem(told("hot", code: "502"))),
        ReplyForm(
            "an error by its object", #"{"object":"error","message":"hot","code":400}"#,
            .problem(told("hot", code: "400"))),
        ReplyForm(
            "an error by its type",
            event(#"{"type":"error","error":{"type":"t","message":"hot"}}"#),
            .problem(told("hot"))),
        ReplyForm(
            "an error by its event", "event: error\ndata: {\"message\":\"hot\"}\n\n",
            .problem(told("hot"))),
        ReplyForm(
            "an error by its event, in words", "event:error\ndata: too hot {here}\n\n",
            .problem(told("too hot {here}"))),
        ReplyForm(
            "an error by its event, in words without an end", "event: error\r\ndata: too hot",
            .problem(told("too hot"))),
    ]

    // MARK: - Replies without words

    private static let wordless = [
        ReplyForm("only a finish reason", stop, .problem(noWords("stop"))),
        ReplyForm(
            "a content filter", event(chunk("null", finish: #""content_filter""#)) + done,
            .problem(noWords("content_filter")), isDone: true),
        ReplyForm(
            "a refusal, streamed",
            event(#"{"choices":[{"delta":{"refusal":"I "}}]}"#)
                + event(#"{"choices":[{"delta":{"refusal":"won't"}}]}"#) + stop,
            .problem(noWords("stop", refusal: "I won't"))),
        ReplyForm(
            "a refusal as JSON", whole(#"{"content":null,"refusal":"No."}"#),
            .problem(noWords("stop", refusal: "No."))),
        ReplyForm(
            "a refusal as a part", whole(#"{"content":[{"type":"refusal","refusal":"No."}]}"#),
            .problem(noWords("stop", refusal: "No."))),
        ReplyForm(
            "a refusal behind words",
            say("Hi") + event(#"{"choices":[{"delta":{"refusal":"No."}}]}"#) + stop,
            .reply("Hi\n\nNo.")),
        ReplyForm(
            "tool calls",
            event(#"{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"name":"f"}}]}}]}"#)
                + event(chunk("null", finish: #""tool_calls""#)) + done, .reply(""), isDone: true),
        ReplyForm(
            "a function call", whole(#"{"content":null,"function_call":{"name":"f"}}"#), .reply("")),
        ReplyForm(
            "no tool calls", whole(#"{"content":"","tool_calls":[],"function_call":null}"#),
            .problem(noWords("stop"))),
    ]

    // MARK: - Choices

    private static let choices = [
        ReplyForm(
            "choice 0 behind choice 1",
            whole(#"{"content":"no"}"#).asSecondOf(#"{"index":0,"message":{"content":"Hi"}}"#),
            .reply("Hi")),
        ReplyForm(
            "choices in turns",
            event(chunk("\"no\"", index: 1)) + say("He") + event(chunk("\"no\"", index: 2))
                + event(chunk("\"no\"", finish: "\"stop\"", index: 1)) + say("llo") + done,
            .reply("Hello"), isDone: true),
        ReplyForm(
            "another choice's end is no end",
            say("Hi") + event(chunk("\"\"", finish: "\"stop\"", index: 1)),
            .problem(.incomplete, kept: "Hi")),
        ReplyForm(
            "an index behind its delta",
            event(
                #"{"choices":[{"delta":{"content":"no"},"index":1},{"delta":{"content":"Hi"},"index":0}]}"#
            ) + done, .reply("Hi"), isDone: true),
        ReplyForm(
            "no index: the first",
            event(#"{"choices":[{"delta":{"content":"Hi"}},{"delta":{"content":"no"}}]}"#) + done,
            .reply("Hi"), isDone: true),
    ]

    // MARK: - Usage

    private static let usages = [
        ReplyForm(
            "usage behind the reply",
            say("Hi") + event(#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}"#)
                + done, .reply("Hi", Usage(promptTokens: 3, completionTokens: 2)), isDone: true),
        ReplyForm(
            "usage in each event, null in between",
            event(#"{"usage":{"prompt_tokens":3},"choices":[{"delta":{"content":"Hi"}}]}"#)
                + event(#"{"choices":[],"usage":{"input_tokens":4,"output_tokens":1}}"#)
                + event(#"{"choices":[],"usage":null}"#) + done,
            .reply("Hi", Usage(promptTokens: 4, completionTokens: 1)), isDone: true),
        ReplyForm(
            "usage within a choice",
            event(#"{"choices":[{"delta":{"content":"Hi"},"usage":{"prompt_tokens":3}}]}"#) + done,
            .reply("Hi", Usage(promptTokens: 3, completionTokens: nil)), isDone: true),
        ReplyForm(
            "usage of no number",
            event(#"{"usage":{"prompt_tokens":1e3,"completion_tokens":99999999999999999999}}"#)
                + say("Hi") + done, .reply("Hi"), isDone: true),
    ]
}
