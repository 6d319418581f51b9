internal import NIOCore
internal import NIOHTTP1

/// Sends a handshake's request in the place of NIO's encoder, which knows `String`s alone. The parts
/// that are written to it are for the decoder, which expects an answer only once it has seen a head.
final class HandshakeEncoder: ChannelOutboundHandler, RemovableChannelHandler {
    typealias OutboundIn = HTTPClientRequestPart
    typealias OutboundOut = ByteBuffer

    private let request: [UInt8]

    init(_ request: [UInt8]) {
        self.request = request
    }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        guard case .head = unwrapOutboundIn(data) else {
            promise?.succeed()
            return
        }
        context.write(wrapOutboundOut(ByteBuffer(bytes: request)), promise: promise)
    }
}
