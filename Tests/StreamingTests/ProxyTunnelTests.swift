import NIOCore
import NIOEmbedded
import ProxyGPT
import Testing

@testable import Streaming

@Suite struct ProxyTunnelTests {
    /// A connection to a proxy, what was written to it, and what became of it.
    private final class Attempt {
        let channel = EmbeddedChannel()
        private(set) var outcomes: [UpstreamFailure?] = []

        init(_ url: String = "https://api.example/v1/responses", credential: Secret? = nil) throws {
            let location = try #require(UpstreamLocation(Array(url.utf8)))
            let tunnel = ProxyTunnel(to: location, credential: credential) { [weak self] failure in
                self?.outcomes.append(failure)
            }
            try channel.pipeline.syncOperations.addHandler(tunnel)
        }

        func sent() throws -> String {
            try channel.readOutbound(as: ByteBuffer.self).map { String(buffer: $0) } ?? ""
        }

        func answer(_ text: String, inPiecesOf size: Int = .max) throws {
            var rest = Array(text.utf8)[...]
            while !rest.isEmpty {
                try channel.writeInbound(ByteBuffer(bytes: rest.prefix(size)))
                rest = rest.dropFirst(size)
            }
        }
    }

    @Test("It asks for host and port, with a credential where there is one")
    func asks() throws {
        #expect(
            try Attempt().sent()
                == "CONNECT api.example:443 HTTP/1.1\r\nHost: api.example:443\r\n\r\n")
        #expect(
            try Attempt("http://[::1]:8080/v1/x", credential: Secret("a:b")).sent()
                == "CONNECT [::1]:8080 HTTP/1.1\r\nHost: [::1]:8080\r\n"
                + "Proxy-Authorization: Basic YTpi\r\n\r\n")
    }

    @Test(
        "It leaves when the tunnel stands, in whatever pieces the answer comes",
        arguments: [1, 5, 999])
    func opens(size: Int) throws {
        let attempt = try Attempt()
        try attempt.answer("HTTP/1.1 200 Connection established\r\nA: b\r\n\r\n", inPiecesOf: size)
        #expect(attempt.outcomes == [nil])
        #expect(throws: (any Error).self) {
            try attempt.channel.pipeline.syncOperations.handler(type: ProxyTunnel.self)
        }
        _ = try attempt.channel.finish()
        #expect(attempt.outcomes.count == 1)
    }

    @Test(
        "What is no tunnel is a failure that says why",
        arguments: [
            ("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "the proxy answered 407"),
            ("SSH-2.0-x\r\n\r\n", "the proxy answered something else than HTTP"),
            ("HTTP/1.1 200 OK\r\n\r\nhello", "the proxy sent more than its answer"),
            (
                "HTTP/1.1 200 OK\r\n" + String(repeating: "a", count: 20_000),
                "the proxy's answer is too long"
            ),
        ])
    func fails(answer: String, problem: String) throws {
        let attempt = try Attempt()
        try attempt.answer(answer)
        #expect(attempt.outcomes == [.unreachable(problem)])
        _ = try? attempt.channel.finish()
        #expect(attempt.outcomes.count == 1)
    }

    @Test("A proxy that goes away is a failure")
    func goes() throws {
        let attempt = try Attempt()
        try attempt.channel.close().wait()
        #expect(attempt.outcomes == [.unreachable("the proxy ended the connection")])
    }
}
