// One WebSocket after its handshake: every frame is echoed, unless an option says otherwise, or
// messages are answered with the events of responses.
//
// Owns the connection's row in the ledger and is confined to its event loop. Frames of its own are
// made when the socket has room, so that an endless stream needs no memory.

import NIOCore
import NIOHTTP1
import NIOWebSocket

/// Serves one WebSocket.
final class SocketHandler: ChannelInboundHandler {
    typealias InboundIn = WebSocketFrame
    typealias OutboundOut = WebSocketFrame

    private static let largestFrame = 1 << 26
    /// Frames sent in one go before other connections get their turn.
    private static let burst = 16

    private let behaviour: SocketBehaviour
    private let key: String?
    private let id: Int
    private let ledger: Ledger
    private var responses: ResponseSocket?
    private var row: SocketRow
    private var sent = 0
    private var made = 0
    private var bytesSent = 0
    private var bytesReceived = 0
    private var isPaused = false
    private var isAnswerPaused = false
    private var hasClosed = false
    private var hasCut = false
    private var isOver = false

    init(
        _ behaviour: SocketBehaviour, answering responses: ResponseSocket?, headers: [Header],
        key: String?, id: Int, _ ledger: Ledger
    ) {
        self.behaviour = behaviour
        self.responses = responses
        self.key = key
        self.id = id
        self.ledger = ledger
        row = SocketRow(headers: headers)
    }

    /// Puts a WebSocket in the place of the HTTP handlers, whose head is written and not flushed.
    static func takeOver(_ channel: any Channel, from handler: CallHandler, _ socket: SocketHandler)
    {
        let pipeline = channel.pipeline.syncOperations
        do {
            let decoder = try pipeline.handler(type: ByteToMessageHandler<HTTPRequestDecoder>.self)
            try pipeline.addHandlers([
                WebSocketFrameEncoder(),
                ByteToMessageHandler(WebSocketFrameDecoder(maxFrameSize: largestFrame)), socket,
            ])
            pipeline.removeHandler(handler, promise: nil)
            // Last, since it passes on what has come behind the request.
            pipeline.removeHandler(decoder, promise: nil)
            // What it begins with leaves in one write with the head.
            socket.begin(channel)
            channel.flush()
        } catch {
            channel.close(promise: nil)
        }
    }

    // MARK: - Frames of its own

    private func begin(_ channel: any Channel) {
        note()
        if behaviour.isDeaf { _ = channel.setOption(.autoRead, value: false) }
        if behaviour.pings {
            send(WebSocketFrame(fin: true, opcode: .ping, data: text("mock")), channel)
        }
        if behaviour.quotesKey, let key {
            // In two fragments, with the key on the border.
            let half = key.count / 2
            let first = text("Incorrect API key provided: " + key.prefix(half))
            let second = text(key.dropFirst(half) + ".")
            send(WebSocketFrame(fin: false, opcode: .text, data: first), channel)
            send(WebSocketFrame(fin: true, opcode: .continuation, data: second), channel)
        }
        if behaviour.sendsBadFrame {
            send(WebSocketFrame(fin: true, rsv1: true, opcode: .text, data: text("bad")), channel)
        }
        if behaviour.cutAfter == 0 { cut(channel) }
        closeIfDue(channel)
        advance(channel)
    }

    /// Sends frames until they are enough, the socket is full or others should have a turn.
    private func advance(_ channel: any Channel) {
        for _ in 0..<Self.burst {
            guard !isOver, !hasClosed, !isPaused, channel.isWritable,
                behaviour.isEndless || made < behaviour.chunks
            else { return }
            made += 1
            let words = "\(made) " + String(repeating: "x", count: behaviour.bytes)
            send(
                WebSocketFrame(
                    fin: true, opcode: .text, data: text(words.prefix(behaviour.bytes))), channel)
            if behaviour.chunkDelay > 0 { break }
        }
        isPaused = true
        let delay = TimeAmount.milliseconds(Int64(behaviour.chunkDelay))
        channel.eventLoop.assumeIsolated().scheduleTask(in: delay) {
            self.isPaused = false
            self.advance(channel)
        }
    }

    private func text(_ text: some StringProtocol) -> ByteBuffer {
        ByteBuffer(string: String(text))
    }

    private func send(_ frame: WebSocketFrame, _ channel: any Channel) {
        if hasCut { return }
        let isData = frame.opcode.isDataFrame
        if isData { sent += 1 }
        let count = frame.unmaskedData.readableBytes
        let written = channel.writeAndFlush(frame)
        written.assumeIsolated().whenSuccess {
            self.bytesSent += count
            self.note()
        }
        if isData, sent == behaviour.cutAfter {
            hasCut = true
            written.assumeIsolated().whenComplete { _ in self.cut(channel) }
        }
    }

    private func cut(_ channel: any Channel) {
        hasCut = true
        channel.flush()
        end(.cut)
        channel.close(promise: nil)
    }

    private func closeIfDue(_ channel: any Channel) {
        guard let code = behaviour.closeCode, row.messages >= behaviour.closeAfter, !hasClosed
        else { return }
        var data = ByteBuffer()
        data.writeInteger(code)
        data.writeString(behaviour.closeReason)
        send(WebSocketFrame(fin: true, opcode: .connectionClose, data: data), channel)
        hasClosed = true
    }

    // MARK: - What comes

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let frame = unwrapInboundIn(data)
        let payload = frame.unmaskedData
        bytesReceived += payload.readableBytes
        switch frame.opcode {
        case .ping:
            row.pings += 1
            send(WebSocketFrame(fin: true, opcode: .pong, data: payload), context.channel)
        case .pong:
            row.pongs += 1
        case .connectionClose:
            takeClose(payload, context)
        default:
            row.frames += 1
            if frame.fin { row.messages += 1 }
            if responses != nil, !behaviour.isSilent {
                responses?.take(payload.readableBytesView, endsMessage: frame.fin)
                answer(context.channel)
            } else {
                if !behaviour.isSilent, !hasClosed { echo(frame, context.channel) }
                closeIfDue(context.channel)
            }
        }
        note()
    }

    private func echo(_ frame: WebSocketFrame, _ channel: any Channel) {
        let echo = WebSocketFrame(
            fin: frame.fin, opcode: frame.opcode, data: frame.unmaskedData)
        guard behaviour.chunkDelay > 0 else {
            send(echo, channel)
            return
        }
        channel.eventLoop.assumeIsolated().scheduleTask(
            in: .milliseconds(Int64(behaviour.chunkDelay))
        ) { self.send(echo, channel) }
    }

    /// Sends events until the answer pauses, the socket is full or others should have a turn.
    private func answer(_ channel: any Channel) {
        guard !isAnswerPaused else { return }
        for _ in 0..<Self.burst {
            guard !isOver, !hasClosed, !hasCut, channel.isWritable, let step = responses?.next()
            else { return }
            switch step {
            case .send(let bytes):
                let frame = WebSocketFrame(fin: true, opcode: .text, data: ByteBuffer(bytes: bytes))
                send(frame, channel)
            case .pause(let milliseconds):
                resumeAnswer(after: .milliseconds(Int64(milliseconds)), channel)
                return
            case .cut:
                cut(channel)
                return
            case .idle:
                closeIfDue(channel)
                return
            }
        }
        resumeAnswer(after: .zero, channel)
    }

    private func resumeAnswer(after delay: TimeAmount, _ channel: any Channel) {
        isAnswerPaused = true
        channel.eventLoop.assumeIsolated().scheduleTask(in: delay) {
            self.isAnswerPaused = false
            self.answer(channel)
        }
    }

    private func takeClose(_ payload: ByteBuffer, _ context: ChannelHandlerContext) {
        var payload = payload
        let whole = payload
        row.closeCode = payload.readInteger(as: UInt16.self).map(Int.init)
        row.closeReason = payload.readString(length: payload.readableBytes)
        note()
        let channel = context.channel
        if hasClosed {
            channel.close(promise: nil)
            return
        }
        hasClosed = true
        let answer = WebSocketFrame(fin: true, opcode: .connectionClose, data: whole)
        channel.writeAndFlush(answer).whenComplete { _ in channel.close(promise: nil) }
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        if context.channel.isWritable {
            advance(context.channel)
            answer(context.channel)
        }
        context.fireChannelWritabilityChanged()
    }

    // MARK: - The end

    private func note() {
        ledger.note(id, socket: row)
        ledger.note(id, head: nil, bytesSent: bytesSent, bytesReceived: bytesReceived)
    }

    private func end(_ end: CallRow.End) {
        guard !isOver else { return }
        isOver = true
        note()
        ledger.end(id, end)
    }

    func channelInactive(context: ChannelHandlerContext) {
        end(hasClosed ? .done : .peerClosed)
        ledger.connectionClosed()
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        if error is NIOWebSocketError {
            row.hasBrokenProtocol = true
            note()
        }
        context.close(promise: nil)
    }
}

extension WebSocketOpcode {
    var isDataFrame: Bool { self == .text || self == .binary || self == .continuation }
}
