// A WebSocket to the upstream, from the resolution of its name to its answer's head.
//
// Confined to the client's loop. `done` is called once, unless the opening is given up before.
// Redirects are not followed: an answer other than 101 is the client's to see.

internal import Credentials
internal import Gateway
internal import NIOCore
internal import NIOHTTP1
internal import NIOPosix
internal import NIOSSL
internal import NIOTLS
package import ProxyGPT

/// How the upstream is reached, the same for all calls.
package struct UpstreamRoute: Sendable {
    let secret: Secret?
    let keyHeader: UpstreamAddress.KeyHeader
    let connectTimeout: Settings.Milliseconds
    let firstByteTimeout: Settings.Milliseconds
    /// Verifies certificates, always.
    let tls: NIOSSLContext
    /// The proxy that leads to an upstream; nil where none does.
    let proxy: @Sendable (UpstreamLocation) -> ProxyLocation?

    package init(_ settings: Settings) throws {
        proxy = { [rules = settings.upstreamProxy] location in
            rules.proxy(
                for: location.host, port: location.port, isSecure: location.isSecure
            ).map(ProxyLocation.init)
        }
        secret = settings.apiKey
        keyHeader = settings.upstream.keyHeader
        connectTimeout = settings.connectTimeout
        firstByteTimeout = settings.firstByteTimeout
        var configuration = TLSConfiguration.makeClientConfiguration()
        configuration.certificateVerification = .fullVerification
        configuration.minimumTLSVersion = .tlsv12
        configuration.applicationProtocols = ["http/1.1"]
        if let file = settings.certificateFile { configuration.trustRoots = .file(file) }
        tls = try NIOSSLContext(configuration: configuration)
    }
}

/// Opens a WebSocket to the upstream.
final class UpstreamOpening: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPClientResponsePart

    enum Outcome {
        /// It stands. The channel has HTTP's handlers still, see `handOver`.
        case opened(any Channel, UpstreamHead)
        /// The upstream's answer is another, whole.
        case refused(UpstreamHead, [UInt8])
        case failed(UpstreamFailure)
    }

    /// The largest answer other than a WebSocket, in bytes.
    private static let bodyLimit = 256 * 1024

    private let route: UpstreamRoute
    private let location: UpstreamLocation
    private let handshake: UpstreamHandshake
    private let done: (Outcome) -> Void
    private var channel: (any Channel)?
    private var timer: Scheduled<Void>?
    private var hasAsked = false
    private var isOver = false
    private var head: HTTPResponseHead?
    private var body: [UInt8] = []

    init(
        _ call: RealtimeCall, to location: UpstreamLocation, by route: UpstreamRoute,
        done: @escaping (Outcome) -> Void
    ) {
        self.route = route
        self.location = location
        self.done = done
        handshake = UpstreamHandshake(
            location, headers: call.headers, subprotocols: call.subprotocols,
            secret: route.secret, in: route.keyHeader, nonce: Randomness.bytes(16))
    }

    package func start(on loop: any EventLoop) {
        let proxy = route.proxy(location)
        wait(route.connectTimeout, on: loop, .connectTimeout)
        ClientBootstrap(group: loop)
            // Ours is the shorter one, and covers TLS as well.
            .connectTimeout(.milliseconds(route.connectTimeout + 1000))
            .channelOption(.tcpOption(.tcp_nodelay), value: 1)
            .channelOption(.writeBufferWaterMark, value: RelayLeg.waterMark)
            .channelOption(.maxMessagesPerRead, value: 1)
            .channelOption(.recvAllocator, value: RelayLeg.receiveAllocator)
            .connect(host: proxy?.host ?? location.host, port: proxy?.port ?? location.port)
            .assumeIsolated()
            .whenComplete { result in
                switch result {
                case .success(let channel): self.connected(channel, through: proxy)
                case .failure(let error): self.fail(.unreachable(Self.cause(of: error)))
                }
            }
    }

    /// Handlers come in now: before, there may be several connections of which one wins.
    private func connected(_ channel: any Channel, through proxy: ProxyLocation?) {
        guard !isOver else {
            channel.close(promise: nil)
            return
        }
        self.channel = channel
        guard let proxy else { return reached(channel) }
        let tunnel = ProxyTunnel(to: location, credential: proxy.credential) { failure in
            if let failure { self.fail(failure) } else { self.reached(channel) }
        }
        do {
            try channel.pipeline.syncOperations.addHandler(tunnel)
        } catch {
            fail(.unreachable(Self.cause(of: error)))
        }
    }

    /// The upstream is at the other end of the connection.
    private func reached(_ channel: any Channel) {
        guard !isOver else { return }
        do {
            try equip(channel.pipeline.syncOperations)
            if !location.isSecure { ask() }
        } catch {
            fail(.unreachable(Self.cause(of: error)))
        }
    }

    private func equip(_ pipeline: ChannelPipeline.SynchronousOperations) throws {
        let decoder = HTTPResponseDecoder(leftOverBytesStrategy: .forwardBytes)
        try pipeline.addHandlers([
            HeadTranscodingHandler(.answer), HandshakeEncoder(handshake.request),
            ByteToMessageHandler(decoder), self,
        ])
        if location.isSecure {
            let name = location.isAddress ? nil : location.host
            try pipeline.addHandler(
                NIOSSLClientHandler(context: route.tls, serverHostname: name), position: .first)
        }
    }

    /// Gives up; `done` is not called any more.
    func cancel() {
        isOver = true
        timer?.cancel()
        channel?.close(promise: nil)
    }

    // MARK: - Asking

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case .handshakeCompleted(let name)? = event as? TLSUserEvent {
            if name == nil || name == "http/1.1" {
                ask()
            } else {
                fail(.unreachable("TLS: the upstream speaks \(name ?? "")"))
            }
        }
        context.fireUserInboundEventTriggered(event)
    }

    private func ask() {
        guard !hasAsked, !isOver, let channel else { return }
        hasAsked = true
        wait(route.firstByteTimeout, on: channel.eventLoop, .firstByteTimeout)
        let head = HTTPRequestHead(version: .http1_1, method: .GET, uri: "/")
        channel.write(HTTPClientRequestPart.head(head), promise: nil)
        channel.writeAndFlush(HTTPClientRequestPart.end(nil), promise: nil)
    }

    private func wait(
        _ milliseconds: Int64, on loop: any EventLoop, _ failure: UpstreamFailure
    ) {
        timer?.cancel()
        timer = loop.assumeIsolated().scheduleTask(in: .milliseconds(milliseconds)) {
            self.fail(failure)
        }
    }

    // MARK: - The answer

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard !isOver else { return }
        switch unwrapInboundIn(data) {
        case .head(let head): self.head = head
        case .body(let piece):
            guard body.count + piece.readableBytes <= Self.bodyLimit else {
                fail(.cut("the answer to the handshake is too large"))
                return
            }
            body.append(contentsOf: piece.readableBytesView)
        case .end: finish(context)
        }
    }

    private func finish(_ context: ChannelHandlerContext) {
        guard let head else { return }
        let told = UpstreamHead(
            status: Int(head.status.code),
            headers: head.headers.map { Header(transcoded: $0.name, $0.value) })
        guard head.status == .switchingProtocols else {
            end(.refused(told, body))
            context.close(promise: nil)
            return
        }
        if let problem = handshake.problem(in: head.headers) {
            fail(.cut(problem))
        } else {
            end(.opened(context.channel, told))
        }
    }

    /// Puts `leg` in the place of HTTP's handlers, which pass on what has come behind the head.
    /// Nothing may be written before the answer: the decoder polls at what is, until it has gone.
    func handOver(to leg: RelayLeg) throws -> EventLoopFuture<Void> {
        let pipeline = leg.channel.pipeline.syncOperations
        let decoder = try pipeline.handler(type: ByteToMessageHandler<HTTPResponseDecoder>.self)
        let encoder = try pipeline.handler(type: HandshakeEncoder.self)
        try pipeline.addHandler(leg)
        pipeline.removeHandler(self, promise: nil)
        pipeline.removeHandler(encoder, promise: nil)
        return pipeline.removeHandler(decoder)
    }

    // MARK: - Failing

    func channelInactive(context: ChannelHandlerContext) {
        fail(
            hasAsked
                ? .cut("the connection ended before the handshake")
                : .unreachable("the connection ended before TLS stood"))
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        let cause = Self.cause(of: error)
        fail(hasAsked ? .cut(cause) : .unreachable(cause))
        context.close(promise: nil)
    }

    static func cause(of error: any Error) -> String {
        String(decoding: String(describing: error).utf8.prefix(300), as: UTF8.self)
    }

    private func fail(_ failure: UpstreamFailure) {
        guard !isOver else { return }
        end(.failed(failure))
        channel?.close(promise: nil)
    }

    private func end(_ outcome: Outcome) {
        isOver = true
        timer?.cancel()
        done(outcome)
    }
}
