internal import NIOCore
internal import ProxyGPT

/// A frame with its bytes on either transport, made once for all subscribers. Confined to the
/// fan-out's loop.
final class EncodedFrame {
    let frame: Frame
    private var serverSentEvent: ByteBuffer?
    private var webSocketFrame: ByteBuffer?

    init(_ frame: Frame) {
        self.frame = frame
    }

    func bytes(for wire: Wire) -> ByteBuffer {
        switch wire {
        case .serverSentEvents:
            if let serverSentEvent { return serverSentEvent }
            let bytes = ServerSentEvents.event(frame)
            serverSentEvent = bytes
            return bytes
        case .webSocket:
            if let webSocketFrame { return webSocketFrame }
            let bytes = WebSocketWriter.text(of: frame)
            webSocketFrame = bytes
            return bytes
        }
    }

    func merged(with next: EncodedFrame) -> EncodedFrame? {
        frame.merged(with: next.frame).map(EncodedFrame.init)
    }
}

/// The two forms in which bytes leave.
enum Wire: Sendable {
    case serverSentEvents
    case webSocket
}
