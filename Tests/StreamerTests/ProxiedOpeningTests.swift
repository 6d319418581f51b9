import NIOCore
import NIOPosix
import ProxyGPT
import Synchronization
import Testing

@testable import HTTPAPI
@testable import Streamer

/// A WebSocket's way to the upstream through a proxy, over a real connection.
@Suite(.timeLimit(.minutes(5))) struct ProxiedOpeningTests {
    /// Answers as a proxy, then as the upstream behind it; keeps what it was sent.
    private final class Peer: ChannelInboundHandler, Sendable {
        typealias InboundIn = ByteBuffer

        let heads = Mutex<[String]>([])
        private let pending = Mutex("")

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            let text = pending.withLock { text in
                text += String(buffer: unwrapInboundIn(data))
                guard text.utf8.suffix(4).elementsEqual("\r\n\r\n".utf8) else { return "" }
                defer { text = "" }
                return text
            }
            if text.isEmpty { return }
            heads.withLock { $0.append(text) }
            let answer =
                text.utf8.starts(with: "CONNECT".utf8)
                ? "HTTP/1.1 200 Connected\r\n\r\n"
                : "HTTP/1.1 429 Too Many Requests\r\nContent-Length: 4\r\n\r\nlate"
            context.writeAndFlush(NIOAny(ByteBuffer(string: answer)), promise: nil)
        }
    }

    @Test("The proxy is asked for the upstream, and what is behind it for the WebSocket")
    func passesThrough() async throws {
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        let peer = Peer()
        let server = try await ServerBootstrap(group: loop)
            .childChannelInitializer { $0.pipeline.addHandler(peer) }
            .bind(host: "127.0.0.1", port: 0).get()
        let port = try #require(server.localAddress?.port)
        let settings = try Settings(values: [
            "API_KEY": "sk-test-key-1234567890",
            "UPSTREAM_PROXY": "http://user:password@127.0.0.1:\(port)",
        ])
        let route = try UpstreamRoute(settings)
        let location = try #require(UpstreamLocation("http://upstream.invalid:81/v1/responses?a=b"))
        let answer = try await loop.flatSubmit {
            let promise = loop.makePromise(of: String.self)
            let opening = UpstreamOpening(Self.call(location), to: location, by: route) { outcome in
                switch outcome {
                case .refused(let head, let body):
                    promise.succeed("\(head.status) \(String(decoding: body, as: UTF8.self))")
                default: promise.succeed("\(outcome)")
                }
            }
            opening.start(on: loop)
            return promise.futureResult
        }.get()
        try await server.close()
        #expect(answer == "429 late")
        let heads = peer.heads.withLock { $0 }
        try #require(heads.count == 2)
        #expect(
            heads[0] == "CONNECT upstream.invalid:81 HTTP/1.1\r\nHost: upstream.invalid:81\r\n"
                + "Proxy-Authorization: Basic dXNlcjpwYXNzd29yZA==\r\n\r\n")
        #expect(heads[1].utf8.starts(with: "GET /v1/responses?a=b HTTP/1.1\r\n".utf8))
        // The proxy's credential is not the upstream's to see, nor the key the proxy's to ask.
        #expect(!heads[1].contains("Proxy-") && !heads[0].contains("sk-test"))
    }

    private static func call(_ location: UpstreamLocation) -> RealtimeCall {
        RealtimeCall(
            userID: User.ID("u"), sessionID: Session.ID("s"), tokenDigest: [], url: "",
            headers: [], subprotocols: [], accept: "", commonHeaders: [],
            event: Event(
                id: Event.ID("e"), timestamp: Timestamp(milliseconds: 0), kind: .forward,
                requestID: "r", clientAddress: "192.0.2.1", method: "GET", path: "/v1/responses"),
            startedAt: 0)
    }
}
