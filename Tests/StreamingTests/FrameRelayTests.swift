import NIOCore
import ProxyGPT
import Testing

@testable import Streaming

/// Frames as a peer writes them.
enum Wire {
    static let mask: [UInt8] = [0x37, 0xFA, 0x21, 0x3D]

    static func frame(
        _ opcode: FrameHead.Opcode, _ payload: [UInt8] = [], isFinal: Bool = true,
        mask: [UInt8] = []
    ) -> [UInt8] {
        var payload = payload
        let head = FrameHead(
            isFinal: isFinal, opcode: opcode, size: payload.count, mask: mask)
        FrameHead.apply(mask, to: &payload, at: 0)
        return head.bytes + payload
    }

    static func text(
        _ text: String, isFinal: Bool = true, mask: [UInt8] = []
    ) -> [UInt8] {
        frame(.text, Array(text.utf8), isFinal: isFinal, mask: mask)
    }

    static func more(
        _ text: String, isFinal: Bool = true, mask: [UInt8] = []
    ) -> [UInt8] {
        frame(.continuation, Array(text.utf8), isFinal: isFinal, mask: mask)
    }

    static func close(_ code: UInt16, _ reason: String = "", mask: [UInt8] = []) -> [UInt8] {
        frame(.close, WebSocketClose(code: code, reason: reason).payload, mask: mask)
    }
}

@Suite struct FrameRelayTests {
    private static let key = "sk-0123456789abcdef"

    private struct Passed: Equatable {
        var bytes: [UInt8] = []
        var outcome = FrameRelay.Outcome.open
    }

    private func relay(_ source: RealtimeSide, transcriptLimit: Int = 0) -> FrameRelay {
        FrameRelay(
            from: source, keyMask: KeyMask(key: Secret(Self.key)), transcriptLimit: transcriptLimit,
            makeMask: { [9, 8, 7, 6] })
    }

    /// What comes of bytes, which is the same in whatever pieces they come.
    private func passed(_ source: RealtimeSide, _ bytes: [UInt8]) -> Passed {
        func inPieces(of size: Int) -> Passed {
            var relay = relay(source)
            var passed = Passed()
            var rest = bytes[...]
            while !rest.isEmpty {
                var input = ByteBuffer(bytes: rest.prefix(size))
                var output = ByteBuffer()
                passed.outcome = relay.take(&input, into: &output)
                passed.bytes += output.readableBytesView
                rest = rest.dropFirst(size)
            }
            return passed
        }
        let whole = inPieces(of: max(1, bytes.count))
        for size in bytes.count < 1000 ? [1, 2, 3, 7] : [1000] {
            #expect(inPieces(of: size) == whole, "in pieces of \(size)")
        }
        return whole
    }

    private func upstream(_ bytes: [UInt8]) -> Passed { passed(.upstream, bytes) }

    private let ours: [UInt8] = [9, 8, 7, 6]

    @Test(
        "A server's frames reach the client as they are, of any size",
        arguments: [0, 1, 125, 126, 127, 65_535, 65_536])
    func passesServersFrames(size: Int) {
        let payload = (0..<size).map { UInt8(truncatingIfNeeded: $0) }
        for opcode in [FrameHead.Opcode.text, .binary] {
            let frame = Wire.frame(opcode, payload)
            #expect(upstream(frame) == Passed(bytes: frame))
        }
    }

    @Test(
        "A client's frames reach the server under a mask of our own",
        arguments: [0, 1, 125, 126, 127, 65_535, 65_536])
    func masksAnew(size: Int) {
        let payload = (0..<size).map { UInt8(truncatingIfNeeded: $0) }
        let passed = passed(.client, Wire.frame(.binary, payload, mask: Wire.mask))
        #expect(passed == Passed(bytes: Wire.frame(.binary, payload, mask: ours)))
    }

    @Test("Fragments stay fragments, empty ones too, and control frames stay between them")
    func keepsFragments() {
        let bytes =
            Wire.text("one", isFinal: false) + Wire.more("", isFinal: false)
            + Wire.frame(.ping, [1, 2]) + Wire.more("two") + Wire.frame(.pong, [3])
        #expect(upstream(bytes) == Passed(bytes: bytes))
    }

    @Test("Text that is not UTF-8 is the peers' business")
    func leavesTextAlone() {
        let frame = Wire.frame(.text, [0xFF, 0xC0])
        #expect(upstream(frame) == Passed(bytes: frame))
    }

    @Test(
        "A close passes with code and reason, and nothing behind it does",
        arguments: [1000, 1001, 1011, 1014, 3000, 4999] as [UInt16])
    func passesCloses(code: UInt16) {
        let close = Wire.close(code, "für dich", mask: Wire.mask)
        let passed = passed(.client, close + Wire.text("more", mask: Wire.mask))
        #expect(passed.bytes == Wire.close(code, "für dich", mask: ours))
        #expect(passed.outcome == .closed(WebSocketClose(code: code, reason: "für dich")))
        let bare = Wire.frame(.close)
        #expect(upstream(bare) == Passed(bytes: bare, outcome: .closed(nil)))
    }

    @Test("What breaks the protocol is not passed on")
    func refusesBrokenFrames() {
        let broken: [[UInt8]] = [
            [0xC1, 0x00], [0xA1, 0x00], [0x91, 0x00],
            [0x83, 0x00], [0x87, 0x00], [0x8B, 0x00],
            Wire.text("masked", mask: Wire.mask),
            Wire.frame(.ping, isFinal: false), [0x89, 0x7E, 0x00, 0x7E],
            Wire.more("of nothing"), [0x81, 0x7E, 0x00, 0x7D],
            [0x81, 0x7F, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF],
            [0x81, 0x7F, 0x80, 0, 0, 0, 0, 0, 0, 0],
            Wire.frame(.close, [3]), Wire.close(999), Wire.close(1004), Wire.close(1005),
            Wire.close(1006), Wire.close(1015), Wire.close(2999), Wire.close(5000),
        ]
        for bytes in broken {
            #expect(
                upstream(bytes) == Passed(outcome: .failed(.protocolError)), "\(bytes)")
        }
        #expect(
            passed(.client, Wire.text("bare")) == Passed(outcome: .failed(.protocolError)))
        let begun = Wire.text("one", isFinal: false)
        #expect(
            upstream(begun + Wire.text("two"))
                == Passed(bytes: begun, outcome: .failed(.protocolError)))
        #expect(
            upstream(Wire.frame(.close, [3, 0xE8, 0xFF])) == Passed(outcome: .failed(.notUTF8)))
    }

    @Test("A frame over 16 MiB is known by its length alone")
    func refusesLargeFrames() {
        let size = FrameHead.sizeLimit
        let fits = FrameHead(isFinal: true, opcode: .binary, size: size, mask: [])
        #expect(upstream(fits.bytes) == Passed(bytes: fits.bytes))
        let large = FrameHead(isFinal: true, opcode: .binary, size: size + 1, mask: [])
        #expect(upstream(large.bytes) == Passed(outcome: .failed(.tooLarge)))
        #expect(
            upstream([0x82, 0x7F, 0x7F, 255, 255, 255, 255, 255, 255, 255])
                == Passed(outcome: .failed(.tooLarge)))
    }

    // MARK: - The key

    @Test("The key is masked in what the upstream says, across fragments as well")
    func masksTheKey() {
        let stars = String(repeating: "*", count: Self.key.count)
        #expect(upstream(Wire.text("a \(Self.key) b")).bytes == Wire.text("a \(stars) b"))
        for cut in 1..<Self.key.count {
            let bytes =
                Wire.text("a " + Self.key.prefix(cut), isFinal: false)
                + Wire.more("", isFinal: false)
                + Wire.more(Self.key.dropFirst(cut) + " b")
            let expected =
                Wire.text("a " + stars.prefix(cut), isFinal: false) + Wire.more("", isFinal: false)
                + Wire.more(stars.dropFirst(cut) + " b")
            #expect(upstream(bytes).bytes == expected, "cut after \(cut)")
        }
    }

    @Test("What only polls like the key's beginning comes through unchanged")
    func releasesFalseBeginnings() {
        let bytes =
            Wire.text("sk-01", isFinal: false) + Wire.frame(.ping, [1])
            + Wire.more("23", isFinal: false) + Wire.more("sk-", isFinal: true)
        #expect(upstream(bytes) == Passed(bytes: bytes))
        let many = (0..<1000).flatMap { _ in Wire.more("", isFinal: false) }
        let long = Wire.text("sk-0", isFinal: false) + many + Wire.more("x")
        #expect(upstream(long).bytes == long)
    }

    @Test("A ping between fragments lets no more than eleven bytes of the key through")
    func masksAroundControlFrames() {
        let bytes =
            Wire.text("sk-01234567", isFinal: false) + Wire.frame(.ping, [1])
            + Wire.more("89abcdef")
        let expected =
            Wire.text("sk-01234567", isFinal: false) + Wire.frame(.ping, [1])
            + Wire.more("********")
        #expect(upstream(bytes) == Passed(bytes: expected))
    }

    @Test("A close's reason may not quote so much as a part of the key")
    func masksReasons() {
        let quoted = String(Self.key.prefix(12))
        let stars = String(repeating: "*", count: 12)
        let passed = upstream(Wire.close(4000, "key \(quoted)"))
        #expect(passed.bytes == Wire.close(4000, "key \(stars)"))
        #expect(passed.outcome == .closed(WebSocketClose(code: 4000, reason: "key \(stars)")))
    }

    // MARK: - Frames of our own

    @Test("The answer to a ping of our own is not passed on, every other one is")
    func swallowsItsPong() {
        var relay = relay(.upstream)
        relay.awaitedPong = [1, 2]
        var input = ByteBuffer(
            bytes: Wire.frame(.pong, [1]) + Wire.frame(.pong, [1, 2]) + Wire.frame(.pong, [1, 2]))
        var output = ByteBuffer()
        let outcome = relay.take(&input, into: &output)
        #expect(outcome == .open)
        #expect(
            Array(output.readableBytesView)
                == Wire.frame(.pong, [1]) + Wire.frame(.pong, [1, 2]))
    }

    @Test("There is room for a frame of our own between frames and not within one")
    func makesRoom() {
        var relay = relay(.upstream)
        var output = ByteBuffer()
        var hasRoom = relay.makeRoom(in: &output)
        #expect(hasRoom)
        let first = Wire.text("a sk-01", isFinal: false)
        var input = ByteBuffer(bytes: first.dropLast())
        _ = relay.take(&input, into: &output)
        hasRoom = relay.makeRoom(in: &output)
        #expect(!hasRoom)
        input = ByteBuffer(bytes: first.suffix(1))
        _ = relay.take(&input, into: &output)
        // What was held back goes first.
        #expect(Array(output.readableBytesView) == first.dropLast(5))
        hasRoom = relay.makeRoom(in: &output)
        #expect(hasRoom)
        #expect(Array(output.readableBytesView) == first)
        // Half a control frame has not left.
        input = ByteBuffer(bytes: Wire.frame(.ping, [1, 2]).dropLast())
        _ = relay.take(&input, into: &output)
        hasRoom = relay.makeRoom(in: &output)
        #expect(hasRoom)
    }

    @Test("The beginning of the text messages is kept, a line each, and nothing binary")
    func keepsWords() {
        var relay = relay(.client, transcriptLimit: 12)
        var input = ByteBuffer(
            bytes: Wire.text("on", isFinal: false, mask: Wire.mask)
                + Wire.more("e", mask: Wire.mask) + Wire.frame(.binary, [1], mask: Wire.mask)
                + Wire.text("two", mask: Wire.mask) + Wire.text("three", mask: Wire.mask))
        var output = ByteBuffer()
        _ = relay.take(&input, into: &output)
        #expect(String(decoding: relay.transcript, as: UTF8.self) == "one\ntwo\nthre")
    }

    @Test("No bytes of a peer bring it down")
    func survivesAnything() {
        var state: UInt64 = 4
        func random() -> UInt8 {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return UInt8(truncatingIfNeeded: state >> 56)
        }
        for _ in 0..<3000 {
            var relay = relay(random() & 1 == 0 ? .client : .upstream, transcriptLimit: 64)
            for _ in 0..<4 {
                var bytes = (0..<40).map { _ in random() }
                if random() & 1 == 0 { bytes[0] &= 0x8F }
                if random() & 1 == 0 { bytes[1] &= 0x8F }
                var input = ByteBuffer(bytes: bytes)
                var output = ByteBuffer()
                _ = relay.take(&input, into: &output)
                _ = relay.makeRoom(in: &output)
            }
        }
    }

    // MARK: - Usage

    private func usage(_ source: RealtimeSide, _ bytes: [UInt8], pieces size: Int) -> Usage? {
        var relay = relay(source)
        var rest = bytes[...]
        var passed: [UInt8] = []
        while !rest.isEmpty {
            var input = ByteBuffer(bytes: rest.prefix(size))
            var output = ByteBuffer()
            _ = relay.take(&input, into: &output)
            passed += output.readableBytesView
            rest = rest.dropFirst(size)
        }
        if source == .upstream { #expect(passed == bytes) }
        return relay.usage
    }

    private static func done(_ input: Int64, _ output: Int64) -> String {
        #"{"type":"response.done","event_id":"e","response":{"usage":"#
            + #"{"total_tokens":0,"input_tokens":\#(input),"output_tokens":\#(output)}}}"#
    }

    @Test(
        "The tokens of all replies are added up, in whatever pieces and fragments they come",
        arguments: [1, 5, 4096])
    func tokensAreAddedUp(size: Int) {
        let first = Self.done(10, 20)
        let half = first.index(first.startIndex, offsetBy: 40)
        let bytes =
            Wire.text(
                #"{"type":"response.audio.delta","delta":"\#(String(repeating: "A", count: 2000))"}"#
            )
            + Wire.text(String(first[..<half]), isFinal: false)
            + Wire.more(String(first[half...])) + Wire.text(Self.done(1, 2))
        #expect(
            usage(.upstream, bytes, pieces: size)
                == Usage(promptTokens: 11, completionTokens: 22))
    }

    @Test("The model is that of the last response that told its usage")
    func model() {
        func told(_ type: String, _ model: String, _ usage: String) -> [UInt8] {
            Wire.text(#"{"type":"\#(type)","response":{"model":"\#(model)","usage":\#(usage)}}"#)
        }
        let usage = #"{"input_tokens":1,"output_tokens":2}"#
        let messages = [
            told("response.created", "asked", "null"), told("response.completed", "first", usage),
            told("response.failed", "last", usage), told("response.done", "unpaid", "null"),
            told("other", "foreign", usage),
        ]
        var relay = relay(.upstream)
        for message in messages {
            var (input, output) = (ByteBuffer(bytes: message), ByteBuffer())
            _ = relay.take(&input, into: &output)
        }
        #expect(relay.model == "last")
        #expect(relay.usage == Usage(promptTokens: 2, completionTokens: 4))
    }

    @Test(
        "What only polls like it counts for nothing",
        arguments: [
            #"{"type":"response.done""#, #"{"type":"other","text":"response.done"}"#,
            #"{"type":"response.done","response":null}"#,
            #"{"type":"response.done","response":{"usage":{"input_tokens":-5}}}"#,
            #"{"type":"response.done","response":{"usage":[1]}}"#, "response.done",
        ])
    func foreignWordsCountForNothing(text: String) {
        let usage = usage(.upstream, Wire.text(text), pieces: 4096)
        #expect((usage?.promptTokens ?? 0) == 0 && (usage?.completionTokens ?? 0) == 0)
    }

    @Test("A client's messages are not read, nor are messages without end")
    func onlyTheUpstreamIsRead() {
        #expect(
            usage(
                .client, Wire.frame(.text, Array(Self.done(1, 2).utf8), mask: Wire.mask),
                pieces: 4096)
                == nil)
        let long = #"{"type":"response.done","x":""# + String(repeating: "y", count: 2 << 20)
        #expect(
            usage(.upstream, Wire.text(long) + Wire.text(Self.done(1, 2)), pieces: 65536)
                == Usage(promptTokens: 1, completionTokens: 2))
    }
}
