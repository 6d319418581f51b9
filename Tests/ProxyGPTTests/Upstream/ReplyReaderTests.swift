import ProxyGPT
import Testing

@Suite struct ReplyReaderTests {
    /// What a reader makes of bytes that come in these pieces.
    private func read(
        _ pieces: [[UInt8]]
    ) -> (reader: ReplyReader, words: String, problem: ReplyReader.Problem?) {
        var reader = ReplyReader()
        var words = ""
        do throws(ReplyReader.Problem) {
            for piece in pieces { words += try reader.feed(piece) }
            words += try reader.finish()
            return (reader, words, nil)
        } catch {
            return (reader, words, error)
        }
    }

    private func check(_ form: ReplyForm, _ pieces: [[UInt8]]) {
        let (reader, words, problem) = read(pieces)
        #expect(reader.isDone == form.isDone)
        switch form.expected {
        case .reply(let reply, let usage):
            #expect(problem == nil)
            #expect(reader.reply.utf8.elementsEqual(reply.utf8), "\(reader.reply.debugDescription)")
            #expect(words.utf8.elementsEqual(reply.utf8))
            #expect(reader.usage == usage)
        case .problem(let expected, let kept):
            #expect(problem == expected)
            #expect(reader.reply.utf8.elementsEqual(kept.utf8))
            #expect(kept.utf8.starts(with: words.utf8))
        }
    }

    @Test(arguments: ReplyForm.all)
    func `an answer is read in any form, wherever it is cut`(form: ReplyForm) {
        let bytes = form.bytes
        check(form, [bytes])
        check(form, bytes.map { [$0] })
        for index in bytes.indices {
            check(form, [Array(bytes[..<index]), Array(bytes[index...])])
        }
        var state: UInt64 = 7
        for _ in 0..<5 {
            var pieces: [[UInt8]] = []
            var rest = bytes[...]
            while !rest.isEmpty {
                state = state &* 6_364_136_223_846_793_005 &+ 1
                let count = 1 + Int(state >> 33) % 9
                pieces.append(Array(rest.prefix(count)))
                rest = rest.dropFirst(count)
            }
            check(form, pieces)
        }
    }

    @Test func `the table has more than eighty forms`() {
        #expect(ReplyForm.all.count > 80)
    }

    @Test func `a delta is returned with the bytes that complete its object`() throws {
        var reader = ReplyReader()
        let event = #"data: {"choices":[{"delta":{"content":"Hi"}}]"#
        #expect(try reader.feed(Array(event.utf8)) == "")
        #expect(try reader.feed(Array("}".utf8)) == "Hi")
        #expect(try reader.feed(Array("\n\n".utf8)) == "")
    }

    @Test func `the reading is over with DONE, and complete with a finish reason`() throws {
        var reader = ReplyReader()
        _ = try reader.feed(Array(#"data: {"choices":[{"delta":{"content":"Hi"}}]}"#.utf8))
        #expect(!reader.isComplete && !reader.isDone)
        _ = try reader.feed(Array("\n{\"choices\":[{\"finish_reason\":\"stop\"}]}".utf8))
        #expect(reader.isComplete && !reader.isDone)
        _ = try reader.feed(Array("\n[DONE]".utf8))
        #expect(reader.isComplete && reader.isDone)
    }

    @Test(arguments: [65_536, Int.max])
    func `an event has up to 16 MiB`(size: Int) throws {
        let frame = #"{"choices":[{"index":0,"delta":{"content":"Hi"}}],"x":""}"#
        for (total, isTaken) in [
            (ReplyReader.eventLimit, true), (ReplyReader.eventLimit + 1, false),
        ] {
            var bytes = Array(frame.utf8)
            let padding = [UInt8](repeating: 0x61, count: total - bytes.count)
            bytes.insert(contentsOf: padding, at: bytes.count - 2)
            let rest = Array("\n[DONE]\n".utf8)
            let (reader, _, problem) = read(pieces(bytes + rest, size))
            #expect(problem == (isTaken ? nil : .tooLong))
            #expect(reader.reply == (isTaken ? "Hi" : ""))
        }
    }

    @Test func `a line without end is given up`() {
        let piece = [UInt8](repeating: 0x61, count: 1024 * 1024)
        #expect(read(Array(repeating: piece, count: 17)).problem == .tooLong)
        let spaces = Array("{".utf8) + [UInt8](repeating: 0x20, count: 1024 * 1024)
        #expect(
            read([spaces] + Array(repeating: Array(spaces[1...]), count: 16)).problem == .tooLong)
    }

    @Test func `a stream of small events may have any length`() {
        let events = Array(
            repeating: Array(": \(String(repeating: "x", count: 1000))\n\n".utf8), count: 1000)
        var all: [[UInt8]] = []
        for _ in 0..<20 { all += events }
        let end = Array(
            "data: {\"choices\":[{\"delta\":{\"content\":\"Hi\"}}]}\n\ndata: [DONE]".utf8)
        #expect(read(all + [end]).words == "Hi")
    }

    @Test func `a reply has up to 4 MiB of text, and the text before the limit is kept`() {
        let crab = Array("🦀".utf8)
        for extra in [0, 1] {
            let words =
                [UInt8]((0..<(Message.replyLimit / 4)).flatMap { _ in crab })
                + [UInt8](repeating: 0x61, count: extra)
            // As one answer, and as a delta behind others.
            let whole =
                Array(#"{"choices":[{"message":{"content":""#.utf8) + words
                + Array(#""},"finish_reason":"stop"}]}"#.utf8)
            let result = read(pieces(whole, 65_536))
            #expect(result.problem == (extra == 0 ? nil : .tooLong))
            #expect(result.reader.reply.utf8.count == Message.replyLimit)
            let events = pieces(words, 100_000).map { part in
                Array(#"data: {"choices":[{"delta":{"content":""#.utf8) + part
                    + Array("\"}}]}\n\n".utf8)
            }
            let streamed = read(events + [Array("data: [DONE]".utf8)])
            #expect(streamed.problem == (extra == 0 ? nil : .tooLong))
            #expect(streamed.reader.reply.utf8.count == Message.replyLimit)
            #expect(streamed.reader.reply.utf8.elementsEqual(words.prefix(Message.replyLimit)))
        }
        // The cut does not part a character.
        let start = Array(#"{"choices":[{"message":{"content":"a"#.utf8)
        let crabs = [UInt8]((0..<(Message.replyLimit / 4)).flatMap { _ in crab })
        let cut = read([start + crabs + Array(#""}}]}"#.utf8)])
        #expect(cut.problem == .tooLong)
        #expect(cut.reader.reply.utf8.count == Message.replyLimit - 3)
    }

    @Test func `the error in a body is found`() {
        let cases: [(String, UpstreamError?)] = [
            (
                #"{"error":{"message":"slow","type":"requests","code":"rate_limit_exceeded"}}"#,
                UpstreamError(message: "slow", code: "rate_limit_exceeded")
            ),
            (
                #" [{"error":{"code":429,"message":"slow"}}]"#,
                UpstreamError(message: "slow", code: "429")
            ),
            ("\n\n{\n \"error\": \"slow\"\n}", UpstreamError(message: "slow")),
            (#"{"message":"slow"}"#, UpstreamError(message: "slow")),
            (#"{"detail":"slow"}"#, UpstreamError(message: "slow")),
            (#"{"detail":[{"loc":["a"],"msg":"slow"}]}"#, UpstreamError(message: "slow")),
            (#"{"error":{"message":"sl\ud83ew"}}"#, UpstreamError(message: "sl\u{FFFD}w")),
            ("{}", UpstreamError(message: nil)), ("<html>", nil), ("", nil), ("{\"error\":", nil),
        ]
        for (body, expected) in cases {
            #expect(ReplyReader.error(in: Array(body.utf8)) == expected, "\(body)")
        }
    }

    private func pieces(_ bytes: [UInt8], _ size: Int) -> [[UInt8]] {
        stride(from: 0, to: bytes.count, by: min(size, bytes.count)).map {
            Array(bytes[$0..<min(bytes.count, $0 + min(size, bytes.count))])
        }
    }
}

@Suite struct ReplyFailureTests {
    @Test func `a failure survives being text`() {
        let failures = [
            ReplyFailure(.upstreamTimeout, "It did not answer."),
            ReplyFailure(.upstreamError, "No.", retryAfter: 3),
            ReplyFailure(.upstreamError, "No.", mayBeRepeated: true),
            ReplyFailure(
                .upstreamError, "No.",
                upstream: UpstreamRefusal(
                    status: .rateLimited, code: "slow_down", message: "e\u{301} \"slow\" 🦀"),
                retryAfter: 0),
            ReplyFailure(.upstreamAuthentication, "", upstream: UpstreamRefusal(message: "x")),
        ]
        for failure in failures {
            let read = ReplyFailure(text: failure.text)
            #expect(read == failure)
            #expect(read.text.utf8.elementsEqual(failure.text.utf8))
        }
    }

    @Test func `a text of an earlier release is read, and any other is an internal failure`() {
        let old = ReplyFailure(text: "upstream_error The upstream says: {\"a\"} no.")
        #expect(old == ReplyFailure(.upstreamError, "The upstream says: {\"a\"} no."))
        #expect(ReplyFailure(text: "other words") == ReplyFailure(.internal, "other words"))
        for text in ["", " ", "\n", "upstream_error", "upstream_error\n{", "unavailable a\n[1]"] {
            _ = ReplyFailure(text: text)
        }
        let strange = "upstream_error No.\n{\"status\":599,\"retry_after\":1e9,\"code\":1}"
        #expect(ReplyFailure(text: strange) == ReplyFailure(.upstreamError, "No."))
    }

    @Test(arguments: [
        (UpstreamRefusal.Status.badRequest, 400, "invalid_request_error"),
        (.notFound, 404, "invalid_request_error"), (.timeout, 408, "invalid_request_error"),
        (.tooLarge, 413, "invalid_request_error"),
        (.unprocessable, 422, "invalid_request_error"), (.rateLimited, 429, "rate_limit_error"),
    ])
    func `a refusal of the upstream keeps its status and its code`(
        status: UpstreamRefusal.Status, number: Int, type: String
    ) {
        let named = Failure(
            .upstreamError, "No.", upstream: UpstreamRefusal(status: status, code: "theirs"))
        #expect(named.status == number && named.codeText == "theirs" && named.type == type)
        let nameless = Failure(.upstreamError, "No.", upstream: UpstreamRefusal(status: status))
        #expect(nameless.status == number && nameless.codeText == "upstream_error")
    }

    @Test func `an upstream's error without such a status is ours`() {
        let failure = Failure(
            .upstreamError, "No.", upstream: UpstreamRefusal(code: "theirs", message: "hot"))
        #expect(failure.status == 502 && failure.codeText == "upstream_error")
        #expect(failure.type == "upstream_error")
    }
}
