internal import Testing

@testable import ProxyGPTClient

@Suite struct ParserTests {
    struct Example: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let text: String
        var events: [Event] = []
        var comments = 0
        var retry: Duration?
    }

    private static func event(
        _ data: String?, id: String = "", name: String = "message"
    ) -> Event {
        Event(name: name, id: id, data: data.map { Array($0.utf8) })
    }

    private static let examples = [
        Example(testDescription: "nothing", text: ""),
        Example(
            testDescription: "an event", text: "id: 1\ndata: a\n\n", events: [event("a", id: "1")]),
        Example(testDescription: "an event without the empty line", text: "id: 1\ndata: a\n"),
        Example(testDescription: "an id alone", text: "id: 1\n\n", events: [event(nil, id: "1")]),
        Example(
            testDescription: "an id that stays", text: "id: 1\ndata: a\n\ndata: b\n\n",
            events: [event("a", id: "1"), event("b", id: "1")]),
        Example(
            testDescription: "a name", text: "event: reset\nid: 2\ndata: {}\n\ndata: b\n\n",
            events: [event("{}", id: "2", name: "reset"), event("b", id: "2")]),
        Example(
            testDescription: "data of several lines", text: "data: a\ndata\ndata:b\n\n",
            events: [event("a\n\nb")]),
        Example(
            testDescription: "every line end", text: "data: a\r\ndata: b\rdata: c\n\r\n\r\n",
            events: [event("a\nb\nc")]),
        Example(
            testDescription: "carriage returns alone", text: "data: a\r\rdata: b\r\r",
            events: [event("a"), event("b")]),
        Example(
            testDescription: "comments and unknown fields",
            text: ": keep-alive\n\nsomething: else\nretry: x\n\n", comments: 1),
        Example(testDescription: "a time", text: "retry: 1500\n\n", retry: .milliseconds(1500)),
        Example(
            testDescription: "an id with a null", text: "id: 1\0\ndata: a\n\n", events: [event("a")]
        ),
        Example(
            testDescription: "a byte order mark", text: "\u{FEFF}data: a\n\n", events: [event("a")]),
        Example(testDescription: "one space of two", text: "data:  a\n\n", events: [event(" a")]),
        Example(
            testDescription: "characters of many bytes", text: "data: äöü 😀\n\n",
            events: [event("äöü 😀")]),
    ]

    @Test(arguments: examples)
    func `the parser reads events split at every byte`(example: Example) throws {
        let bytes = Array(example.text.utf8)
        for cut in 0...bytes.count {
            var parser = EventParser()
            try parser.feed(bytes[..<cut])
            try parser.feed(bytes[cut...])
            #expect(parser.events == example.events, "cut at \(cut)")
            #expect(parser.comments == example.comments, "cut at \(cut)")
            #expect(parser.retry == example.retry, "cut at \(cut)")
        }
        var parser = EventParser()
        for byte in bytes { try parser.feed([byte]) }
        #expect(parser.events == example.events)
    }

    struct Reply: Sendable, CustomTestStringConvertible {
        let testDescription: String
        /// Deltas; nil is a restart.
        let deltas: [String?]
        let fresh: [String]
        let whole: String
        var rest = ""
    }

    private static let replies = [
        Reply(
            testDescription: "deltas in order", deltas: ["a ", "b ", "c"],
            fresh: ["a ", "b ", "c"],
            whole: "a b c"),
        Reply(
            testDescription: "the whole has more", deltas: ["a "], fresh: ["a "], whole: "a b",
            rest: "b"),
        Reply(testDescription: "no delta", deltas: [], fresh: [], whole: "a b", rest: "a b"),
        Reply(
            testDescription: "from the beginning again, in other pieces",
            deltas: ["one ", "two ", nil, "one t", "wo three"],
            fresh: ["one ", "two ", "", "three"],
            whole: "one two three"),
        Reply(
            testDescription: "from the beginning twice", deltas: ["ab", nil, "a", nil, "abc", "d"],
            fresh: ["ab", "", "c", "d"], whole: "abcd"),
        Reply(
            testDescription: "a delta from the middle after a restart",
            deltas: ["one ", "two ", nil, "three ", "four"], fresh: ["one ", "two ", "", ""],
            whole: "one two three four", rest: "three four"),
        Reply(testDescription: "another reply", deltas: ["one"], fresh: ["one"], whole: "two"),
        Reply(
            testDescription: "characters of many bytes", deltas: ["Grü", nil, "G", "rüße"],
            fresh: ["Grü", "", "ße"], whole: "Grüße"),
        Reply(
            testDescription: "a mark that joins the letter before it",
            deltas: ["cafe", nil, "cafe\u{301}", "s"], fresh: ["cafe", "\u{301}", "s"],
            whole: "cafe\u{301}s"),
    ]

    @Test(arguments: replies)
    func `a reply text yields each word once`(reply: Reply) {
        var text = ReplyText()
        var fresh: [String] = []
        for delta in reply.deltas {
            if let delta { fresh.append(text.add(delta)) } else { text.restart() }
        }
        #expect(fresh.map { Array($0.utf8) } == reply.fresh.map { Array($0.utf8) })
        #expect(text.finish(reply.whole) == reply.rest)
    }

    @Test func `final frames are forgotten in the end`() throws {
        var ends = RememberedEnds()
        for number in 0..<3 * RememberedEnds.limit {
            let text = #"{"message":\#(message("done", "x", id: "\(number)")),"partial":false}"#
            let event = Event(name: "message", id: "", data: Array(text.utf8))
            let frame = try #require(try MessageFrame(event))
            let wasKnown = ends.isRepeated(frame)
            let isKnown = ends.isRepeated(frame)
            #expect(!wasKnown && isKnown)
        }
    }
}
