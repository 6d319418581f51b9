internal import CFastCGI
internal import Credentials
internal import FastCGI
internal import Glibc
internal import NIOHTTP1
internal import ProxyGPT
@testable internal import Streaming

// Bytes of sockets: the web server's, the clients' and the upstream's.

extension Entry {
    private static func record(_ type: UInt8, _ content: [UInt8], padding: UInt8 = 0) -> [UInt8] {
        [1, type, 0, 1, UInt8(content.count >> 8), UInt8(content.count & 255), padding, 0]
            + content + [UInt8](repeating: 0, count: Int(padding))
    }

    private static let begin = record(1, [0, 1, 1, 0, 0, 0, 0, 0])
    private static let requests: [[UInt8]] = [
        begin + record(4, [1, 1] + Array("A1".utf8)) + record(4, []) + record(5, []),
        begin + record(4, [0, 0, 1, 3] + Array("Bxyz".utf8), padding: 6) + record(4, [])
            + record(5, Array("body".utf8), padding: 4) + record(5, []),
        begin + record(4, [0x80, 0, 0, 1, 0x80, 0, 0, 2] + Array("Cde".utf8)) + record(4, []),
        begin + record(4, [1]) + record(4, [1] + Array("A1".utf8)) + record(4, []) + record(2, []),
        // Padding that libfcgi once took for the next record.
        record(1, [0, 1, 1, 0, 0, 0, 0, 0], padding: 16) + record(4, []) + record(5, []),
        begin + record(4, [0xC0, 0, 0, 0, 0xC0, 0, 0, 0, 65]) + record(4, []),
    ]

    private static let frames: [[UInt8]] = [
        [0x81, 0x82, 1, 2, 3, 4, 0x60, 0x60], [0x88, 0x82, 0, 0, 0, 0, 0x03, 0xE8],
        [0x89, 0x80, 0, 0, 0, 0, 0x8A, 0x81, 1, 1, 1, 1, 9],
        [0x01, 0xFE, 0, 126, 0, 0, 0, 0] + [UInt8](repeating: 0x61, count: 126)
            + [0x80, 0x80, 0, 0, 0, 0],
        [0x82, 0xFF, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0], [0x81, 2, 0x61, 0x62, 0x88, 0],
    ]

    static let sockets = [
        Entry("fastcgi", limit: 160 * 1024, bytes: requests) { readRequest($0) },
        Entry("websocket", limit: headLimit, bytes: frames) { bytes in
            func read(_ pieces: [[UInt8]]) -> [WebSocketReceiver.Action] {
                var receiver = WebSocketReceiver()
                return pieces.flatMap { receiver.receive($0) }
            }
            let whole = Turns.turn { read([bytes]) }
            require(whole == read(pieces(bytes)), "frames do not depend on the pieces")
        },
        Entry("frame-head", limit: headLimit, bytes: frames) { bytes in
            for isMasked in [false, true] {
                guard case .head(let head) = FrameHead.read(bytes, isMasked: isMasked) else {
                    continue
                }
                require(
                    head.bytes.elementsEqual(bytes.prefix(head.bytes.count)), "a head comes back")
                var payload = Array(bytes.dropFirst(head.bytes.count))
                FrameHead.apply(head.mask, to: &payload, at: 3)
                _ = try? WebSocketClose.read(payload)
            }
        },
        Entry(
            "transcoded-head", limit: headLimit,
            bytes: [
                Array("GET /v1/x?".utf8) + [0xFF, 0xC3] + Array(" HTTP/1.1\r\nA: ".utf8)
                    + [0x80, 0x0D, 0x0A, 0x0D, 0x0A, 0xFF],
                Array("HTTP/1.1 103 Early\r\nLink: ".utf8) + [0xE9, 0x0D, 0x0A, 0x0D, 0x0A]
                    + Array("HTTP/1.1 101 Switching\r\nA: b\r\n\r\n".utf8) + [0x81, 0x82],
            ]
        ) { bytes in
            for kind in [HeadTranscoder.Kind.request, .answer] {
                var (whole, parts) = (HeadTranscoder(kind), HeadTranscoder(kind))
                let result = Turns.turn { whole.feed(bytes) }
                require(
                    result == pieces(bytes).flatMap { parts.feed($0) }
                        && whole.target == parts.target && whole.isOver == parts.isOver,
                    "a head does not depend on the pieces")
                let isOneWord = whole.target?.allSatisfy { ![0x20, 0x0A, 0x0D].contains($0) }
                require(isOneWord ?? true, "a target has no space and no line's end")
            }
        },
        Entry(
            "handshake", limit: headLimit,
            seeds: [
                "Upgrade: websocket\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
                "Upgrade: h2c, WebSocket\nSec-WebSocket-Protocol: realtime\nUpgrade: \u{301},",
            ]
        ) { bytes in
            let url = Array("https://a.example:8443/v1/realtime?model=x".utf8)
            guard let location = UpstreamLocation(url) else {
                return require(false, "the address is good")
            }
            let handshake = UpstreamHandshake(
                location, headers: [], subprotocols: ["realtime"], secret: nil, in: .bearer,
                nonce: Array(UInt8(0)..<16))
            var headers = HTTPHeaders()
            for line in lines(bytes) {
                let name = line.prefix { $0 != UInt8(ascii: ":") }
                // SwiftNIO's parser takes no others, and its headers trap over them.
                guard name.allSatisfy({ $0 < 0x80 }) else { continue }
                headers.add(
                    name: text(name),
                    value: text(line.dropFirst(name.count + 1).drop { $0 == 0x20 }))
            }
            Turns.turn { _ = handshake.problem(in: headers) }
        },
        Entry(
            "realtime-usage",
            seeds: [
                #"{"type":"response.done","response":{"usage":{"input_tokens":1,"output_tokens":2}}}"#,
                #"{"type":"response.done","response":{"usage":{"input_tokens":9223372036854775807}}}"#,
                #"{"type":"response.completed","response":{"model":"m","usage":{"output_tokens":2}}}"#,
            ]
        ) { bytes in
            var (whole, split) = (UsageReader(), UsageReader())
            for _ in 0..<2 {
                for slice in slices(bytes) { Turns.turn { whole.feed(slice) } }
                for piece in pieces(bytes) { split.feed(piece) }
                Turns.turn { whole.endMessage() }
                split.endMessage()
            }
            require(
                whole.usage == split.usage && whole.model == split.model,
                "usage and model do not depend on the pieces")
        },
    ]

    /// What the scanner takes for a whole head, libfcgi reads; it ends the process where it may not.
    private static func readRequest(_ bytes: [UInt8]) {
        guard case .complete(let length) = RequestHead(scanning: bytes) else { return }
        require(length <= bytes.count, "a head ends within its bytes")
        require(
            length == 0 || RequestHead(scanning: bytes[..<(length - 1)]) == .incomplete,
            "a head is complete with its last byte")
        var ends: [Int32] = [0, 0]
        guard socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &ends) == 0 else { return }
        defer { for end in ends { close(end) } }
        let sent = send(ends[1], bytes, bytes.count, Int32(MSG_DONTWAIT | MSG_NOSIGNAL))
        shutdown(ends[1], Int32(SHUT_WR))
        guard sent == bytes.count else { return }
        var request = FCGX_Request()
        guard FCGX_Init() == 0, FCGX_InitRequest(&request, -1, 0) == 0 else { return }
        request.ipcFd = dup(ends[0])
        request.keepConnection = 1
        guard FCGX_Accept_r(&request) == 0 else { return }
        var piece = [CChar](repeating: 0, count: 4096)
        while FCGX_GetStr(&piece, Int32(piece.count), request.in) > 0 {}
        FCGX_Free(&request, 1)
    }
}
