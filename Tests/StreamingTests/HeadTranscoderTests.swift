import NIOCore
import NIOEmbedded
import NIOHTTP1
import ProxyGPT
import Testing

@testable import Streaming

@Suite struct HeadTranscoderTests {
    private static let odd: [UInt8] = [0xFF, 0x26, 0xC3, 0x3D, 0x80]
    private static let line = Array("GET /v1/x?".utf8) + odd + Array(" HTTP/1.1\r\n".utf8)
    private static let rest =
        Array("Host: h\r\nX-Title: ".utf8) + odd + Array("\r\nContent-Length: 4\r\n\r\n".utf8)

    /// What NIO's parser makes of a request that comes in pieces.
    private func parsed(
        _ pieces: [[UInt8]]
    ) throws -> (head: HTTPRequestHead, body: [UInt8], target: [UInt8]?) {
        let channel = EmbeddedChannel()
        let transcoder = HeadTranscodingHandler(.request)
        try channel.pipeline.syncOperations.addHandlers([
            transcoder, ByteToMessageHandler(HTTPRequestDecoder()),
        ])
        var head: HTTPRequestHead?
        var body: [UInt8] = []
        for piece in pieces {
            try channel.writeInbound(ByteBuffer(bytes: piece))
            while let part = try channel.readInbound(as: HTTPServerRequestPart.self) {
                switch part {
                case .head(let one): head = one
                case .body(let bytes): body += bytes.readableBytesView
                case .end: break
                }
            }
        }
        _ = try channel.finish(acceptAlreadyClosed: true)
        return (try #require(head), body, transcoder.target)
    }

    @Test("Target, headers and body pass whole, wherever the request is cut")
    func passesEveryByte() throws {
        let request = Self.line + Self.rest + [0xFF, 0x0D, 0x0A, 0x80]
        for cut in 0..<request.count {
            let pieces = [Array(request[..<cut]), Array(request[cut...])]
            let (head, body, target) = try parsed(pieces)
            #expect(target == Array("/v1/x?".utf8) + Self.odd, "\(cut)")
            let headers = head.headers.map { Header(transcoded: $0.name, $0.value) }
            #expect(headers.map(\.bytes) == [Array("h".utf8), Self.odd, Array("4".utf8)])
            #expect(body == [0xFF, 0x0D, 0x0A, 0x80])
        }
    }

    @Test("A head of ASCII stays as it is, and its target is the parser's")
    func leavesASCII() throws {
        let (head, _, target) = try parsed([Array("GET /v1/x?a HTTP/1.1\r\nA: b\r\n\r\n".utf8)])
        #expect(target == nil && head.uri == "/v1/x?a" && head.headers.first(name: "A") == "b")
    }

    @Test("A request line with such bytes elsewhere, or with too many, is refused")
    func refusesOtherPlaces() {
        let long = [UInt8](repeating: 0x61, count: 65_536)
        let lines: [[UInt8]] = [
            [0xFF] + Array("GET / HTTP/1.1".utf8),
            Array("GE".utf8) + [0xFF] + Array("T / HTTP/1.1".utf8),
            Array("GET / HTTP/1.".utf8) + [0xFF], Array("GET /".utf8) + long + [0xFF, 0x20],
        ]
        for line in lines {
            #expect(throws: (any Error).self) { try parsed([line + Array("\r\n\r\n".utf8)]) }
        }
    }

    @Test("An answer is transcoded until its final head has ended")
    func endsBehindTheFinalHead() {
        let interim = Array("HTTP/1.1 103 Early\r\nLink: ".utf8) + Self.odd + Array("\r\n\r\n".utf8)
        for (status, isOver) in [("101 Switching", true), ("200", true), ("103 Early", false)] {
            var transcoder = HeadTranscoder(.answer)
            let start = Array("HTTP/1.1 \(status)\r\nX: ".utf8)
            let bytes = transcoder.feed(interim + start + Self.odd + Array("\r\n\r\n".utf8))
            #expect(transcoder.isOver == isOver && transcoder.target == nil, "\(status)")
            #expect(String(validating: bytes, as: UTF8.self) != nil)
            #expect((transcoder.feed(Self.odd) == Self.odd) == isOver)
        }
    }

    @Test("What an answer's header has leaves as it came")
    func writesBytes() {
        let buffer = AnswerHead.webSocket("x", [Header("X-Raw", bytes: Self.odd)])
        let line = Array("\r\nX-Raw: ".utf8) + Self.odd + Array("\r\n\r\n".utf8)
        #expect(buffer.readableBytesView.suffix(line.count).elementsEqual(line))
    }
}
