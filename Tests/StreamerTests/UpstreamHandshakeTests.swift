import Credentials
import NIOHTTP1
import ProxyGPT
import Testing

@testable import Streamer

@Suite struct UpstreamHandshakeTests {
    private let nonce = Array(UInt8(0)..<16)

    private func handshake(
        headers: [Header] = [], subprotocols: [String] = [], secret: Secret? = Secret("sk-1"),
        in keyHeader: UpstreamAddress.KeyHeader = .bearer
    ) throws -> UpstreamHandshake {
        let location = try #require(
            UpstreamLocation("https://api.example:8443/v1/realtime?model=x"))
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
        let head = try handshake(
            headers: [Header("OpenAI-Beta", "realtime=v1"), Header("X", "a\r\nb: c")],
            subprotocols: ["realtime", "b"]
        ).head
        #expect((head.method, head.uri) == (.GET, "/v1/realtime?model=x"))
        #expect(
            head.headers.map { "\($0.name): \($0.value)" } == [
                "Host: api.example:8443", "Upgrade: websocket", "Connection: Upgrade",
                "Sec-WebSocket-Key: AAECAwQFBgcICQoLDA0ODw==", "Sec-WebSocket-Version: 13",
                "Sec-WebSocket-Protocol: realtime, b", "OpenAI-Beta: realtime=v1",
                "Authorization: Bearer sk-1",
            ])
        let azures = try handshake(in: .apiKey).head.headers
        #expect(azures["api-key"] == ["sk-1"] && azures["Authorization"].isEmpty)
        let open = try handshake(secret: nil).head.headers
        #expect(open["Authorization"].isEmpty && open["Sec-WebSocket-Protocol"].isEmpty)
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
        let plain = try #require(UpstreamLocation("http://localhost:9090?x"))
        #expect((plain.isSecure, plain.host, plain.port) == (false, "localhost", 9090))
        #expect((plain.authority, plain.target) == ("localhost:9090", "/?x"))
        let secure = try #require(UpstreamLocation("https://api.openai.com/v1/realtime"))
        #expect((secure.isSecure, secure.port, secure.isAddress) == (true, 443, false))
        let six = try #require(UpstreamLocation("https://[::1]:8443/a"))
        #expect((six.host, six.port, six.authority) == ("::1", 8443, "[::1]:8443"))
        #expect(six.isAddress)
        #expect(try #require(UpstreamLocation("http://127.0.0.1/")).isAddress)
        // The query is the client's, and what follows a byte does not change it.
        let marked = try #require(UpstreamLocation("http://a:1/\u{301}x?\u{301}y"))
        #expect((marked.host, marked.port, marked.target) == ("a", 1, "/\u{301}x?\u{301}y"))
        for bad in ["ws://a/", "http://", "http://a:0/", "http://a:99999/", "http://a b/", ""] {
            #expect(UpstreamLocation(bad) == nil, "\(bad)")
        }
    }
}
