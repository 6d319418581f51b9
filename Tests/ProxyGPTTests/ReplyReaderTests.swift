import ProxyGPT
import Testing

@Suite struct ReplyReaderTests {
    private let stream = """
        : a comment

        data: {"choices":[],"prompt_filter_results":[]}

        data: {"choices":[{"delta":{"role":"assistant","content":""},"finish_reason":null}]}

        data: {"choices":[{"delta":{"content":"Héllo "}}]}

        data: {"choices":[{"delta":{"content":"world"}}],"usage":null}

        data: {"choices":[{"delta":{},"finish_reason":"stop"}]}

        data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}

        data: [DONE]


        """

    private func read(
        _ text: String, by size: Int = .max, as type: String = "text/event-stream"
    ) throws(ReplyReader.Problem) -> ReplyReader {
        var reader = ReplyReader(contentType: type)
        var words = ""
        var rest = Array(text.utf8)[...]
        while !rest.isEmpty {
            words += try reader.feed(Array(rest.prefix(size)))
            rest = rest.dropFirst(size)
        }
        words += try reader.finish()
        #expect(words == reader.reply)
        return reader
    }

    @Test func `a stream is read alike wherever it is cut, and with any line ends`() throws {
        for ends in ["\n", "\r\n", "\r"] {
            let text = stream.split(separator: "\n", omittingEmptySubsequences: false)
                .joined(separator: ends)
            for size in [1, 2, 3, 5, 7, 64, .max] {
                let reader = try read(text, by: size)
                #expect(reader.reply == "Héllo world")
                #expect(reader.usage == Usage(promptTokens: 3, completionTokens: 2))
            }
        }
    }

    @Test func `words are told with the bytes that complete them`() throws {
        var reader = ReplyReader(contentType: "text/event-stream; charset=utf-8")
        let event = #"data: {"choices":[{"delta":{"content":"Hi"}}]}"#
        #expect(try reader.feed(Array(event.utf8)) == "")
        #expect(try reader.feed([0x0A]) == "")
        #expect(try reader.feed([0x0A]) == "Hi")
    }

    @Test func `null characters are left out, since not every database takes them`() throws {
        let words = #"{"content":"\u0000a\u0000b"}"#
        let events = "data: {\"choices\":[{\"delta\":\(words)}]}\n\ndata: [DONE]\n\n"
        #expect(try read(events).reply == "ab")
        let whole = "{\"choices\":[{\"message\":\(words)}]}"
        #expect(try read(whole, as: "application/json").reply == "ab")
    }

    @Test func `a JSON answer is a reply as well`() throws {
        let chat = #"{"choices":[{"message":{"content":"Hi"}}],"usage":{"prompt_tokens":1}}"#
        #expect(try read(chat, by: 3, as: "application/json").reply == "Hi")
        let text = #"{"choices":[{"text":"Hi"}]}"#
        #expect(try read(text, as: "application/json").reply == "Hi")
        let refusal = #"{"choices":[{"message":{"content":null,"refusal":"No."}}]}"#
        #expect(try read(refusal, as: "application/json").reply == "No.")
    }

    @Test func `a stream that ends too early is incomplete`() {
        let cut = #"data: {"choices":[{"delta":{"content":"Hi"}}]}"# + "\n\n"
        #expect(throws: ReplyReader.Problem.incomplete) { try read(cut) }
        #expect(throws: ReplyReader.Problem.incomplete) { try read("") }
    }

    @Test func `a finish reason is an end, with or without DONE and the last line's end`() throws {
        let end = #"data: {"choices":[{"delta":{"content":"Hi"},"finish_reason":"length"}]}"#
        #expect(try read(end).reply == "Hi")
        #expect(try read(end + "\n\n").reply == "Hi")
    }

    @Test func `what the upstream says of an error is told`() {
        let event = #"data: {"error":{"message":"overloaded","code":1}}"# + "\n\n"
        #expect(throws: ReplyReader.Problem.told("overloaded")) { try read(event) }
        #expect(throws: ReplyReader.Problem.told("no")) {
            try read(#"{"error":"no"}"#, as: "application/json")
        }
    }

    @Test func `what is no reply is malformed`() {
        for (text, type) in [
            ("data: nonsense\n\n", "text/event-stream"), ("data: []\n\n", "text/event-stream"),
            ("<html>", "text/html"), ("{}", "application/json"),
            (#"{"choices":[]}"#, "application/json"), ("", "application/json"),
        ] {
            #expect(throws: ReplyReader.Problem.malformed, "\(text)") { try read(text, as: type) }
        }
    }

    @Test func `a line, a reply and a body without end are given up`() throws {
        var line = ReplyReader(contentType: "text/event-stream")
        let piece = [UInt8](repeating: 0x61, count: 512 * 1024)
        _ = try line.feed(piece)
        _ = try line.feed(piece)
        #expect(throws: ReplyReader.Problem.tooLong) { _ = try line.feed(piece) }

        var reply = ReplyReader(contentType: "text/event-stream")
        let words = String(repeating: "x", count: 500_000)
        let event = Array(#"data: {"choices":[{"delta":{"content":"\#(words)"}}]}"#.utf8)
        #expect(throws: ReplyReader.Problem.tooLong) {
            for _ in 0..<10 { _ = try reply.feed(event + [0x0A, 0x0A]) }
        }
        #expect(reply.reply.utf8.count <= Message.replyLimit)

        var body = ReplyReader(contentType: nil)
        #expect(throws: ReplyReader.Problem.tooLong) {
            for _ in 0..<100 { _ = try body.feed(piece) }
        }
    }
}

@Suite struct ServerSentEventParserTests {
    private func events(_ text: String) throws -> [String] {
        var parser = ServerSentEventParser()
        var all = try parser.feed(Array(text.utf8))
        if let last = parser.finish() { all.append(last) }
        return all.map { String(decoding: $0, as: UTF8.self) }
    }

    @Test func `fields are read as the standard says`() throws {
        let cases: [(String, [String])] = [
            ("data: a\n\n", ["a"]), ("data:a\n\n", ["a"]), ("data:  a\n\n", [" a"]),
            ("data: a\ndata: b\n\n", ["a\nb"]), ("data\n\n", [""]), ("data:\ndata\n\n", ["\n"]),
            ("event: x\nid: 3\n\ndata: a\n\n", ["a"]), (": data: a\n\n", []),
            ("database: a\n\n", []), ("\u{FEFF}data: a\n\n", ["a"]), ("\n\n\n", []),
            ("data: a\n\ndata: b", ["a", "b"]),
        ]
        for (text, expected) in cases { #expect(try events(text) == expected, "\(text)") }
    }
}
