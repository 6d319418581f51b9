import Formats
import NIOCore
import NIOHTTP1
import Testing

@testable import MockUpstream

@Suite("The Responses API")
struct ResponseTests {
    private static let types = [
        "response.created", "response.in_progress", "response.output_item.added",
        "response.content_part.added", "response.output_text.delta",
        "response.output_text.delta", "response.output_text.done", "response.content_part.done",
        "response.output_item.done", "response.completed",
    ]

    private func answer(_ body: String, query: String = "") -> Answer {
        var call = Call(
            HTTPRequestHead(version: .http1_1, method: .POST, uri: "/v1/responses" + query))
        call.body.take(ByteBuffer(string: body))
        return Endpoints(key: nil).answer(to: call).0
    }

    private func plain(_ body: String, query: String = "") throws -> JSONValue {
        guard case .whole(let bytes) = answer(body, query: query).content else { return .null }
        return try JSONValue(parsing: bytes)
    }

    private func text(_ response: JSONValue) -> String? {
        response["output"]?.elements?.first?["content"]?.elements?.first?["text"]?.stringValue
    }

    private func create(_ model: String, _ more: String = "") -> [UInt8] {
        Array(#"{"type":"response.create","model":"\#(model)","input":"hi"\#(more)}"#.utf8)
    }

    private func steps(_ socket: inout ResponseSocket) -> [ResponseSocket.Step] {
        var steps: [ResponseSocket.Step] = []
        while steps.count < 50, steps.last != .idle, steps.last != .cut {
            steps.append(socket.next())
        }
        return steps
    }

    private func messages(_ steps: [ResponseSocket.Step]) throws -> [JSONValue] {
        try steps.compactMap { step in
            if case .send(let bytes) = step { try JSONValue(parsing: bytes) } else { nil }
        }
    }

    // MARK: - HTTP

    @Test(
        "The last message of the user is answered, in whatever form it comes",
        arguments: [
            #""hello""#, #"[{"role":"user","content":"hello"}]"#,
            #"[{"role":"user","content":"a"},{"type":"message","role":"user","content":"#
                + #"[{"type":"input_text","text":"hel"},{"type":"input_text","text":"lo"}]},"#
                + #"{"type":"function_call_output","call_id":"c","output":"never"}]"#,
        ])
    func inputs(input: String) throws {
        let response = try plain(#"{"model":"m","input":\#(input),"unknown":[1],"store":false}"#)
        #expect(text(response)?.hasPrefix("echo: hello ") == true)
        #expect(response["object"] == "response" && response["status"] == "completed")
        #expect(response["model"] == "m" && response["store"] == false)
    }

    @Test("All tokens of the input are counted, and one a word of the output")
    func usage() throws {
        let items = #"[{"role":"user","content":"12345678"},{"role":"user","content":"1234"}]"#
        let usage = try plain(
            #"{"model":"m?chunks=5","instructions":"1234","input":\#(items)}"#)["usage"]
        #expect(usage?["input_tokens"] == 12 && usage?["output_tokens"] == 5)
        #expect(usage?["total_tokens"] == 17)
    }

    @Test("A request without input is refused, unless it goes on from another one")
    func withoutInput() throws {
        #expect(answer(#"{"model":"m"}"#).status == 400)
        #expect(answer(#"{"model":"m","input":null}"#).status == 400)
        #expect(answer(#"{"model":"m","input":7}"#).status == 400)
        #expect(answer(#"{"input":"x"}"#).status == 400)
        #expect(answer(#"{"model":"m","previous_response_id":"resp_1"}"#).status == 200)
        #expect(answer(#"{"model":"m?status=429","input":"x"}"#).status == 429)
        #expect(answer(#"{"model":"missing","input":"x"}"#, query: "?close").status == 404)
    }

    @Test("The events of a stream are numbered, and make up the plain answer")
    func stream() throws {
        let body = #"{"model":"m?chunks=2","input":"hi""#
        let whole = try plain(body + "}")
        guard case .pieces(var pieces, nil) = answer(body + #","stream":true}"#).content else {
            Issue.record("no stream")
            return
        }
        var events: [JSONValue] = []
        while let piece = pieces.next() {
            let lines = String(decoding: piece.bytes, as: UTF8.self).split(
                separator: "\n", omittingEmptySubsequences: false)
            try #require(lines.count == 4 && lines[2].isEmpty && lines[3].isEmpty)
            let event = try JSONValue(parsing: Array(lines[1].utf8.dropFirst(6)))
            #expect(lines[0] == "event: \(event["type"]?.stringValue ?? "")")
            events.append(event)
        }
        #expect(events.map { $0["type"]?.stringValue } == Self.types)
        #expect(events.map { $0["sequence_number"] } == (0...9).map { .integer($0) })
        let deltas = events.compactMap { $0["delta"]?.stringValue }
        #expect(deltas.count == 2 && deltas.joined() == text(whole))
        #expect(events[6]["text"]?.stringValue == text(whole))
        #expect(events[0]["response"]?["usage"] == JSONValue.null)
        let completed = events[9]["response"]
        #expect(completed?["output"]?.elements?.first?["content"] == events[8]["item"]?["content"])
        #expect(completed?["usage"] == whole["usage"])
    }

    // MARK: - WebSocket

    @Test("A message is answered with the events of its response, fragments or not")
    func socket() throws {
        var socket = ResponseSocket(chunkDelay: 0)
        let bytes = create("m?chunks=2")
        socket.take(bytes.prefix(20), endsMessage: false)
        #expect(socket.next() == .idle)
        socket.take(bytes.dropFirst(20), endsMessage: true)
        let whole = steps(&socket)
        #expect(try messages(whole).map { $0["type"]?.stringValue } == Self.types)
        // Another message is answered after it, an equal one equally.
        socket.take(bytes, endsMessage: true)
        socket.take(bytes, endsMessage: true)
        #expect(steps(&socket) == whole.dropLast() + whole)
    }

    @Test("A response that only prepares has no output")
    func preparation() throws {
        var socket = ResponseSocket(chunkDelay: 0)
        socket.take(create("m", #","generate":false"#), endsMessage: true)
        let events = try messages(steps(&socket))
        #expect(
            events.map { $0["type"]?.stringValue } == [
                "response.created", "response.in_progress", "response.completed",
            ])
        #expect(events.last?["response"]?["usage"]?["output_tokens"] == 0)
    }

    @Test("An error of a message is an event, and the next message is answered")
    func errors() throws {
        var socket = ResponseSocket(chunkDelay: 0)
        for message in ["{", "[]", #"{"type":"response.create"}"#, #"{"type":"x","model":"m"}"#] {
            socket.take(message.utf8, endsMessage: true)
        }
        socket.take(create("m?status=429"), endsMessage: true)
        socket.take(#"{"type":"response.processed","response_id":"r"}"#.utf8, endsMessage: true)
        let events = try messages(steps(&socket))
        #expect(events.map { $0["type"]?.stringValue } == Array(repeating: "error", count: 5))
        #expect(events.map { $0["status"] } == [400, 400, 400, 400, 429])
        #expect(events.last?["error"]?["code"] == "rate_limit_exceeded")
        socket.take(create("m"), endsMessage: true)
        #expect(try messages(steps(&socket)).last?["type"] == "response.completed")
    }

    @Test("A model's name may ask for delays, cuts and silence")
    func options() throws {
        func play(_ model: String, chunkDelay: Int = 0) -> [ResponseSocket.Step] {
            var socket = ResponseSocket(chunkDelay: chunkDelay)
            socket.take(create(model), endsMessage: true)
            return steps(&socket)
        }
        #expect(play("m?hang") == [.idle])
        #expect(play("m?head-delay-ms=9").first == .pause(milliseconds: 9))
        #expect(play("m?chunks=3&chunk-delay-ms=7").count { $0 == .pause(milliseconds: 7) } == 2)
        #expect(play("m?chunks=3", chunkDelay: 5).count { $0 == .pause(milliseconds: 5) } == 2)
        #expect(play("m?cut-after=0") == [.cut])
        let cut = play("m?cut-after=1")
        #expect(cut.last == .cut && cut.count == 6)
        #expect(play("m?endless").count == 50)
        #expect(throws: JSONError.self) { try messages(play("m?garbage-json")) }
    }
}
