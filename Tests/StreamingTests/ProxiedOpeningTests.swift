import Gateway
import NIOCore
import NIOPosix
import ProxyGPT
import Synchronization
import Testing

@testable import Streaming

/// A WebSocket's way to the upstream through a proxy, over a real connection.
@Suite(.timeLimit(.minutes(5))) struct ProxiedOpeningTests {
    /// Bytes that are no UTF-8.
    private static let odd: [UInt8] = [0xFF, 0xE9, 0x80]

    /// Answers as a proxy, then as the upstream behind it; keeps what it was sent.
    private final class Peer: ChannelInboundHandler, Sendable {
        typealias InboundIn = ByteBuffer

        let heads = Mutex<[[UInt8]]>([])
        private let pending = Mutex<[UInt8]>([])

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            let head = pending.withLock { head in
                head += unwrapInboundIn(data).readableBytesView
                guard head.suffix(4).elementsEqual("\r\n\r\n".utf8) else { return [UInt8]() }
                defer { head = [] }
                return head
            }
            if head.isEmpty { return }
            heads.withLock { $0.append(head) }
            let late = Array("\r\nContent-Length: 5\r\n\r\nlat".utf8)
            let answer =
                head.starts(with: "CONNECT".utf8)
                ? Array("HTTP/1.1 200 Connected\r\n\r\n".utf8)
                // An interim answer first, with such a header as well.
                : Array("HTTP/1.1 103 Early\r\nLink: \u{E9}\r\n\r\n".utf8)
                    + Array("HTTP/1.1 429 Too Many\r\nX-Raw: ".utf8) + ProxiedOpeningTests.odd
                    + late + ProxiedOpeningTests.odd.prefix(2)
            context.writeAndFlush(NIOAny(ByteBuffer(bytes: answer)), promise: nil)
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
        let location = try #require(
            UpstreamLocation(Array("http://upstream.invalid:81/v1/responses?".utf8) + Self.odd))
        let answer = try await loop.flatSubmit {
            let promise = loop.makePromise(of: UpstreamHead?.self)
            let opening = UpstreamOpening(Self.call(location), to: location, by: route) { outcome in
                switch outcome {
                case .refused(let head, let body):
                    #expect(body == Array("lat".utf8) + Self.odd.prefix(2))
                    promise.succeed(head)
                default: promise.succeed(nil)
                }
            }
            opening.start(on: loop)
            return promise.futureResult
        }.get()
        try await server.close()
        #expect(answer?.status == 429)
        #expect(answer?.headers.first?.bytes == Self.odd)
        let heads = peer.heads.withLock { $0 }
        try #require(heads.count == 2)
        let tunnel = String(decoding: heads[0], as: UTF8.self)
        #expect(
            tunnel == "CONNECT upstream.invalid:81 HTTP/1.1\r\nHost: upstream.invalid:81\r\n"
                + "Proxy-Authorization: Basic dXNlcjpwYXNzd29yZA==\r\n\r\n")
        #expect(
            heads[1].starts(
                with: Array("GET /v1/responses?".utf8) + Self.odd + Array(" HTTP/1.1\r\n".utf8)))
        // The proxy's credential is not the upstream's to see.
        #expect(!String(decoding: heads[1], as: UTF8.self).contains("Proxy-"))
    }

    private static func call(_ location: UpstreamLocation) -> RealtimeCall {
        RealtimeCall(
            userID: User.ID("u"), sessionID: Session.ID("s"), tokenDigest: [], url: [],
            headers: [], subprotocols: [], accept: "", commonHeaders: [],
            event: Event(
                id: Event.ID("e"), timestamp: Timestamp(milliseconds: 0), kind: .forward,
                requestID: "r", clientAddress: "192.0.2.1", method: "GET", path: "/v1/responses"),
            startedAt: 0)
    }
}
