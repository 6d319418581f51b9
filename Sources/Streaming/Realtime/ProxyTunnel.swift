internal import Credentials
internal import Formats
internal import NIOCore
internal import ProxyGPT

/// The HTTP proxy through which the upstream is reached.
struct ProxyLocation: Sendable {
    let host: String
    let port: Int
    /// `user:password`, where the proxy wants it.
    let credential: Secret?

    init(host: String, port: Int, credential: Secret? = nil) {
        self.host = host
        self.port = port
        self.credential = credential
    }

    init(_ proxy: UpstreamProxy) {
        self.init(
            host: proxy.host, port: proxy.port,
            credential: proxy.credential.map { Secret($0.user + ":" + $0.password.revealed) })
    }
}

/// Asks a proxy for a tunnel (RFC 9110, section 9.3.6) and leaves the pipeline when it stands. The first
/// handler of its connection; nothing else may be in it.
final class ProxyTunnel: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    /// The largest head of a proxy's answer, in bytes.
    private static let headLimit = 16 * 1024

    private let location: UpstreamLocation
    private let credential: Secret?
    private let done: (UpstreamFailure?) -> Void
    private var head: [UInt8] = []
    private var isOver = false

    /// - Parameter done: called once, with what went wrong or nil.
    init(
        to location: UpstreamLocation, credential: Secret?,
        done: @escaping (UpstreamFailure?) -> Void
    ) {
        self.location = location
        self.credential = credential
        self.done = done
    }

    /// What the proxy is asked.
    var request: String {
        let target = location.hostAndPort
        var lines = ["CONNECT \(target) HTTP/1.1", "Host: \(target)"]
        if let credential {
            let encoded = base64(Array(credential.revealed.utf8))
            lines.append("Proxy-Authorization: Basic \(encoded)")
        }
        return lines.map { $0 + "\r\n" }.joined() + "\r\n"
    }

    func handlerAdded(context: ChannelHandlerContext) {
        context.writeAndFlush(wrapOutboundOut(ByteBuffer(string: request)), promise: nil)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard !isOver else { return }
        let mark = Array("\r\n\r\n".utf8)
        // The end of the head may lie across two readings.
        let from = max(0, head.count - mark.count + 1)
        head.append(contentsOf: unwrapInboundIn(data).readableBytesView)
        guard let end = head[from...].firstRange(of: mark) else {
            if head.count > Self.headLimit { end(.unreachable("the proxy's answer is too long")) }
            return
        }
        guard let status = Self.status(of: head), (200..<300).contains(status) else {
            let status = Self.status(of: head).map(String.init) ?? "something else than HTTP"
            return self.end(.unreachable("the proxy answered \(status)"))
        }
        // The upstream speaks second, whether TLS or HTTP.
        guard end.upperBound == head.count else {
            return self.end(.unreachable("the proxy sent more than its answer"))
        }
        isOver = true
        context.pipeline.syncOperations.removeHandler(self).assumeIsolated().whenComplete { _ in
            self.done(nil)
        }
    }

    /// The status in a head's first line.
    private static func status(of head: [UInt8]) -> Int? {
        let line = head.prefix { $0 != 0x0D }
        guard line.starts(with: "HTTP/1.".utf8), line.count >= 12, line[8] == 0x20 else {
            return nil
        }
        return line[9..<12].decimalNumber.map { Int($0) }
    }

    func channelInactive(context: ChannelHandlerContext) {
        end(.unreachable("the proxy ended the connection"))
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        end(.unreachable(UpstreamOpening.cause(of: error)))
        context.close(promise: nil)
    }

    private func end(_ failure: UpstreamFailure) {
        guard !isOver else { return }
        isOver = true
        done(failure)
    }
}
