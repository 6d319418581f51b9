internal import Glibc
internal import NIOCore
internal import ProxyGPT

/// One of the two connections of a WebSocket call: the last handler of its pipeline.
final class RelayLeg: ChannelDuplexHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    let side: RealtimeSide
    let channel: any Channel
    /// What this side says, on its way to the other.
    var relay: FrameRelay
    /// Its close frame has been passed on.
    var hasClosed = false
    var isGone = false
    var bytesRead: Int64 = 0
    var bytesWritten: Int64 = 0
    /// Milliseconds at the last sign of life.
    var heardAt: Int64

    /// Lets go of its legs when both are gone.
    private let owner: SocketRelay
    private var isReadHeld = false
    /// What came before the call stands; nil from then on.
    private var early: [ByteBuffer]? = []
    private var isLostEarly = false

    init(
        _ side: RealtimeSide, _ channel: any Channel, _ relay: FrameRelay, of owner: SocketRelay,
        now: Int64
    ) {
        self.side = side
        self.channel = channel
        self.relay = relay
        self.owner = owner
        heardAt = now
    }

    /// Bytes that may wait in a connection before the other is read no further.
    static let waterMark = ChannelOptions.Types.WriteBufferWaterMark(
        low: 32 * 1024, high: 64 * 1024)

    /// Bytes that one reading brings at most: some thousand frames, when they are empty, before it is
    /// the other connections' turn.
    static var receiveAllocator: AdaptiveRecvByteBufferAllocator {
        AdaptiveRecvByteBufferAllocator(minimum: 1024, initial: 2048, maximum: 8192)
    }

    /// Lets go what came before the call stood, at most what one reading brings.
    func begin() {
        guard let early else { return }
        self.early = nil
        for bytes in early { owner.take(bytes, from: self) }
        owner.flush(behind: self)
        if isLostEarly { owner.lost(self) }
    }

    /// Ends the connection whatever has not been taken of it. A peer that reads nothing would not
    /// see a plain end behind what it has not read; it sees a reset.
    func cut() {
        if side == .upstream, !isGone, let socket = channel as? any SocketOptionProvider {
            _ = socket.setSoLinger(linger(l_onoff: 1, l_linger: 0))
        }
        channel.close(promise: nil)
    }

    /// Takes note that the channel was lost before this became its handler.
    func abandon() { owner.lost(self) }

    func write(_ bytes: ByteBuffer) {
        guard !isGone, bytes.readableBytes > 0 else { return }
        bytesWritten += Int64(bytes.readableBytes)
        channel.write(bytes, promise: nil)
    }

    // MARK: - The channel

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let bytes = unwrapInboundIn(data)
        if early == nil { owner.take(bytes, from: self) } else { early?.append(bytes) }
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        owner.flush(behind: self)
        context.fireChannelReadComplete()
    }

    /// Reads on only while the other side takes what comes.
    func read(context: ChannelHandlerContext) {
        if owner.mayRead(self) {
            context.read()
        } else {
            isReadHeld = true
        }
    }

    /// Goes on reading if that was held back.
    func resume() {
        guard isReadHeld else { return }
        isReadHeld = false
        channel.read()
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        if context.channel.isWritable { owner.canTakeMore(self) }
        context.fireChannelWritabilityChanged()
    }

    func channelInactive(context: ChannelHandlerContext) {
        if early == nil { owner.lost(self) } else { isLostEarly = true }
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        context.close(promise: nil)
    }
}
