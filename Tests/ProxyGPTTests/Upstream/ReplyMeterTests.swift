import Formats
import ProxyGPT
import Testing

/// Feeds `text` in two pieces, split at every byte, and in single bytes.
private func forEverySplit(_ text: String, _ check: ([[UInt8]]) throws -> Void) rethrows {
    let bytes = Array(text.utf8)
    for split in 0...bytes.count {
        try check([Array(bytes[..<split]), Array(bytes[split...])])
    }
    try check(bytes.map { [$0] })
}

@Suite struct ReplyMeterTests {
    private func meter(_ type: String, _ pieces: [[UInt8]]) -> ReplyMeter {
        var meter = ReplyMeter(contentType: type)
        for piece in pieces { meter.feed(piece) }
        meter.finish()
        return meter
    }

    private func expectUsage(
        _ prompt: Int64?, _ completion: Int64?, model: String?, in text: String, type: String
    ) {
        forEverySplit(text) { pieces in
            let meter = meter(type, pieces)
            let usage = Usage(promptTokens: prompt, completionTokens: completion)
            guard meter.usage == usage, meter.model == model else {
                Issue.record(
                    "read \(String(describing: meter.usage)) split as \(pieces.map(\.count))")
                return
            }
        }
    }

    @Test("The usage of a JSON reply is read wherever the text is split")
    func readsJSON() {
        expectUsage(
            13, 7, model: "gpt-3.5-turbo",
            in: """
                {"id":"c-1", "object":"chat.completion","model" : "gpt-3.5-turbo",
                 "choices":[{"message":{"content":"say \\"usage\\":{\\"prompt_tokens\\":99}"}}],
                 "usage": {"prompt_tokens": 13, "completion_tokens": 7, "total_tokens": 20,
                 "prompt_tokens_details":{"cached_tokens":[0]}}}
                """, type: "application/json; charset=utf-8")
    }

    @Test("An embedding's usage has no completion tokens")
    func readsEmbeddings() {
        expectUsage(
            5, nil, model: "e", in: #"{"data":[],"model":"e","usage":{"prompt_tokens":5}}"#,
            type: "application/json")
    }

    @Test("The last usage of a stream counts, wherever the stream is split")
    func readsEvents() {
        expectUsage(
            21, 8, model: "gpt-4",
            in: """
                data: {"model":"gpt-4","choices":[{"delta":{"content":"Hi"}}],"usage":null}

                data: {"model":"other","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}

                : {"usage":{"prompt_tokens":98}}
                event: {"usage":{"prompt_tokens":97}}
                data: {"choices":[{"delta":{"content":"\\"usage\\":{\\"prompt_tokens\\":96}"}}]}

                data:{"choices":[],"usage":{"prompt_tokens":21,"completion_tokens":8}}

                data: {"choices":[],"usage":null}

                data: [DONE]


                """, type: "text/event-stream; charset=utf-8")
    }

    @Test("Lines of a stream may end with CR LF or CR alone, and the last one not at all")
    func readsOtherLineEnds() {
        let first = #"data: {"model":"m","usage":{"prompt_tokens":1,"completion_tokens":1}}"#
        let last = #"data: {"usage":{"prompt_tokens":3,"completion_tokens":4}}"#
        for end in ["\r\n", "\r"] {
            expectUsage(
                3, 4, model: "m", in: first + end + end + last + end + end + "data: [DONE]" + end,
                type: "text/event-stream")
        }
        expectUsage(3, 4, model: "m", in: first + "\n\n" + last, type: "text/event-stream")
    }

    @Test("The Responses API's usage stands one level deeper and has other names")
    func readsResponses() {
        expectUsage(
            36, 87, model: "gpt-4.1",
            in: """
                event: response.created
                data: {"type":"response.created","response":{"model":"gpt-4.1","usage":null}}

                event: response.completed
                data: {"type":"response.completed","response":{"id":"r","output":[{"usage":
                data: {"type":"response.completed","response":{"output":[{"usage":{"input_tokens":1}}],\
                "usage":{"input_tokens":36,"input_tokens_details":{"cached_tokens":0},\
                "output_tokens":87}}}


                """, type: "text/event-stream")
        expectUsage(
            36, 87, model: "gpt-4.1",
            in: #"{"model":"gpt-4.1","usage":{"input_tokens":36,"output_tokens":87}}"#,
            type: "application/json")
    }

    @Test(
        "Nothing is found where it only looks like usage",
        arguments: [
            #"{"choices":[{"usage":{"prompt_tokens":1}}]}"#,
            #"{"other":{"usage":{"prompt_tokens":1}}}"#,
            #"{"response":[{"usage":{"prompt_tokens":1}}]}"#,
            #"{"a":{"response":{"usage":{"prompt_tokens":1}}}}"#,
            #"{"response":{"a":{"usage":{"prompt_tokens":1}}}}"#,
            #"{"text":"{\"usage\":{\"prompt_tokens\":1}}"}"#,
            #"{"text":"\\","x":"usage\":{\"prompt_tokens\":1"}"#,
            #"["usage",{"usage":{"prompt_tokens":1}}]"#,
            #"{"Usage":{"prompt_tokens":1},"usages":{"prompt_tokens":1},"usag":{"prompt_tokens":1}}"#,
            #"{"x":"usage","y":{"prompt_tokens":1}}"#,
            #"{"usage":"13","usage2":{"prompt_tokens":1}}"#,
            #"{"usage":{"prompt_tokens":"13"}}"#, #"{"usage":null}"#,
            #"{"usage":{"prompt_tokens":1}"#,
            #"{"usage":{"prompt_tokens":1.5}}"#, "", "usage", #""usage":{"prompt_tokens":1}"#,
        ])
    func findsNothingElsewhere(text: String) {
        forEverySplit(text) { pieces in
            let meter = meter("application/json", pieces)
            #expect(meter.usage == nil)
        }
    }

    @Test("The end of one event does not change the next")
    func startsEachEventAnew() {
        let text = "data: {\"response\"\n\ndata: [{\"usage\":{\"prompt_tokens\":1}}]\n\n"
        #expect(meter("text/event-stream", [Array(text.utf8)]).usage == nil)
        let cut = "data: {\"a\":\"open\ndata: {\"usage\":{\"prompt_tokens\":2}}\n"
        #expect(meter("text/event-stream", [Array(cut.utf8)]).usage?.promptTokens == 2)
    }

    @Test("Of a member that comes twice the last counts, as most parsers read it")
    func takesTheLastDuplicate() {
        let text = #"{"usage":{"prompt_tokens":1},"usage":{"prompt_tokens":2}}"#
        #expect(meter("application/json", [Array(text.utf8)]).usage?.promptTokens == 2)
    }

    @Test("Too long values are skipped, and the next ones are read")
    func passesOverLongValues() {
        let long = String(repeating: "x", count: 5000)
        let text = "{\"model\":\"\(long)\",\"usage\":{\"prompt_tokens\":4}}"
        let meter = meter("application/json", [Array(text.utf8)])
        #expect(meter.model == nil)
        #expect(meter.usage?.promptTokens == 4)
    }

    @Test("A text that is nested too deep is not followed any further")
    func givesUpOnDepth() {
        let deep = String(repeating: "[", count: 65) + String(repeating: "]", count: 65)
        let text = "{\"model\":\"m\",\"x\":\(deep),\"usage\":{\"prompt_tokens\":4}}"
        let meter = meter("application/json", [Array(text.utf8)])
        #expect(meter.model == "m")
        #expect(meter.usage == nil)
    }

    @Test("Other types are not looked at", arguments: ["text/plain", "", "application/x-jsonl"])
    func ignoresOtherTypes(type: String) {
        let text = Array(#"{"usage":{"prompt_tokens":4}}"#.utf8)
        #expect(meter(type, [text]).usage == nil)
        #expect(ReplyMeter(contentType: nil).readsEvents == false)
        #expect(ReplyMeter(contentType: "Text/Event-Stream").readsEvents)
    }

    @Test("The scanner finds what is wanted and nothing else")
    func scansForNames() {
        forEverySplit(#"{"model" : "gpt \"4\"" ,"n":1,"stream":true,"stop":[1,{"model":2}]}"#) {
            pieces in
            var scanner = JSONFieldScanner(wanted: ["model", "stop"])
            for piece in pieces { scanner.feed(piece) }
            #expect(Set(scanner.found.keys) == ["model", "stop"])
            let model = scanner.found["model"].flatMap { try? JSONValue(parsing: $0) }
            #expect(model?.stringValue == "gpt \"4\"")
            #expect(scanner.found["stop"] == Array(#"[1,{"model":2}]"#.utf8))
        }
    }
}
