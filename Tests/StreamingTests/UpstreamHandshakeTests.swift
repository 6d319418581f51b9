import Credentials
import NIOHTTP1
import ProxyGPT
import Testing

@testable import Streaming

@Suite struct UpstreamHandshakeTests {
    private let nonce = Array(UInt8(0)..<16)

    private func handshake(
        headers: [Header] = [], subprotocols: [String] = [], secret: Secret? = Secret("sk-1"),
        in keyHeader: UpstreamAddress.KeyHeader = .bearer
    ) throws -> UpstreamHandshake {
        let location = try #require(
            UpstreamLocation(Array("https://api.example:8443/v1/realtime?model=x".utf8)))
        return UpstreamHandshake(
            location, headers: headers, subprotocols: subprotocols, secret: secret, in: keyHeader,
            nonce: nonce)
    }

    private func answer(_ more: [(String, String)] = []) throws -> HTTPHeaders {
        let accept = try #require(WebSocketKey.answer(to: "AAECAwQFBgcICQoLDA0ODw=="))
        return HTTPHeaders(
            [("Upgrade", "WebSocket"), ("Connection", "upgrade"), ("Sec-WebSocket-Accept", accept)]
                + more)
    }

    @Test("It asks at the address with the key where it belongs")
    func asks() throws {
        let raw: [UInt8] = [0x61, 0xFF, 0xE9]
        let request = try handshake(
            headers: [
                Header("OpenAI-Beta", "realtime=v1"), Header("X", "a\r\nb: c"),
                Header("A\r\nB", "c"), Header("X-Title", bytes: raw),
            ],
            subprotocols: ["realtime", "b"]
        ).request
        let lines = [
            "GET /v1/realtime?model=x HTTP/1.1", "Host: api.example:8443", "Upgrade: websocket",
            "Connection: Upgrade", "Sec-WebSocket-Key: AAECAwQFBgcICQoLDA0ODw==",
            "Sec-WebSocket-Version: 13", "Sec-WebSocket-Protocol: realtime, b",
            "OpenAI-Beta: realtime=v1", "X-Title: ",
        ].joined(separator: "\r\n")
        #expect(
            request == Array(lines.utf8) + raw
                + Array("\r\nAuthorization: Bearer sk-1\r\n\r\n".utf8))
        func text(_ handshake: UpstreamHandshake) -> String {
            String(decoding: handshake.request, as: UTF8.self)
        }
        let azures = text(try handshake(in: .apiKey))
        #expect(azures.contains("\r\napi-key: sk-1\r\n") && !azures.contains("Authorization"))
        let open = text(try handshake(secret: nil))
        #expect(!open.contains("Authorization") && !open.contains("Protocol"))
    }

    @Test("It takes the answer to its own question alone")
    func checks() throws {
        let handshake = try handshake(subprotocols: ["realtime"])
        #expect(handshake.problem(in: try answer()) == nil)
        #expect(
            handshake.problem(in: try answer([("Sec-WebSocket-Protocol", "realtime")])) == nil)
        let wrong: [HTTPHeaders] = [
            HTTPHeaders(),
            HTTPHeaders(try answer().filter { $0.name != "Upgrade" }.map { ($0.name, $0.value) }),
            HTTPHeaders([("Upgrade", "websocket"), ("Sec-WebSocket-Accept", "x")]),
            try answer([("Sec-WebSocket-Accept", "x")]),
            try answer([("Sec-WebSocket-Extensions", "permessage-deflate")]),
            try answer([("Sec-WebSocket-Protocol", "Realtime")]),
            try answer([("Sec-WebSocket-Protocol", "realtime, realtime")]),
            try answer([("Sec-WebSocket-Protocol", "realtime\u{301}")]),
            HTTPHeaders(
                try answer().map {
                    ($0.name, $0.name == "Upgrade" ? "websocket\u{301}" : $0.value)
                }),
            try answer([
                ("Sec-WebSocket-Protocol", "realtime"), ("Sec-WebSocket-Protocol", "realtime"),
            ]),
        ]
        for headers in wrong {
            #expect(handshake.problem(in: headers) != nil, "\(headers)")
        }
    }

    @Test("An address comes apart into what a connection wants")
    func readsLocations() throws {
        let plain = try #require(UpstreamLocation(Array("http://localhost:9090?x".utf8)))
        #expect((plain.isSecure, plain.host, plain.port) == (false, "localhost", 9090))
        #expect((plain.authority, plain.target) == ("localhost:9090", Array("/?x".utf8)))
        let secure = try #require(
            UpstreamLocation(Array("https://api.openai.com/v1/realtime".utf8)))
        #expect((secure.isSecure, secure.port, secure.isAddress) == (true, 443, false))
        let six = try #require(UpstreamLocation(Array("https://[::1]:8443/a".utf8)))
        #expect((six.host, six.port, six.authority) == ("::1", 8443, "[::1]:8443"))
        #expect(six.isAddress)
        #expect(try #require(UpstreamLocation(Array("http://127.0.0.1/".utf8))).isAddress)
        // The query is the client's, and what follows a byte does not change it.
        let marked = try #require(UpstreamLocation(Array("http://a:1/\u{301}x?\u{301}y".utf8)))
        #expect(
            (marked.host, marked.port, marked.target) == ("a", 1, Array("/\u{301}x?\u{301}y".utf8)))
        for bad in ["ws://a/", "http://", "http://a:0/", "http://a:99999/", "http://a b/", ""] {
            #expect(UpstreamLocation(Array(bad.utf8)) == nil, "\(bad)")
        }
    }
}
