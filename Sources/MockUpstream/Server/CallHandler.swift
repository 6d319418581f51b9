// One connection: requests in, answers out, one call at a time.
//
// Owns the connection's state and is confined to its event loop. While an answer is on its way a
// pipelined request waits, and reading stops with it; the peer's close is seen all the same,
// since NIO watches for it even when nothing is read. The next piece of an answer is made only when
// the socket has room, so that an endless answer needs no memory. Knows no endpoint.

import NIOCore
import NIOHTTP1

/// Serves the calls of one connection.
final class CallHandler: ChannelDuplexHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    /// The parts that all connections share.
    struct Services: Sendable {
        let endpoints: Endpoints
        let control: ControlAnswers
        let ledger: Ledger
        let standardHeaders: StandardHeaders
    }

    /// The call that is being received or answered.
    private final class Current {
        var call: Call
        let frame: Playback.Frame
        /// The number in the ledger; control calls have none.
        let id: Int?
        var playback: Playback?
        var head: Double?
        var bytesSent = 0
        var unfinishedWrites = 0
        var isPlaying = false
        var isPaused = false
        var ending: (end: CallRow.End, closing: Bool)?

        init(call: Call, frame: Playback.Frame, id: Int?) {
            self.call = call
            self.frame = frame
            self.id = id
        }
    }

    /// The connection's last model call with its answer, which an equal call gets again: a load
    /// test repeats one body, and its measurements should not include the time of this program's
    /// JSON.
    private struct Remembered {
        let uri: String
        let key: String?
        let body: [UInt8]
        let answer: Answer
        let behaviour: Behaviour

        static let largestBody = 8192

        func fits(_ call: Call) -> Bool {
            uri == call.uri && body == call.body.bytes && key == call.presentedKey
        }
    }

    private let services: Services
    private var current: Current?
    private var remembered: Remembered?
    /// From a request's last byte to its answer's.
    private var isAnswering = false
    private var isCounted = false
    private var isClosed = false
    private var waiting = CircularBuffer<HTTPServerRequestPart>()
    private var isReadHeld = false

    /// Pieces written in one go before other connections get their turn.
    private static let burst = 16

    init(_ services: Services) {
        self.services = services
    }

    // MARK: - Requests

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let part = unwrapInboundIn(data)
        if isAnswering || !waiting.isEmpty {
            waiting.append(part)
        } else {
            take(part, context: context)
        }
    }

    func read(context: ChannelHandlerContext) {
        if waiting.isEmpty {
            context.read()
        } else {
            isReadHeld = true
        }
    }

    private func take(_ part: HTTPServerRequestPart, context: ChannelHandlerContext) {
        switch part {
        case .head(let head):
            begin(head, context: context)
        case .body(let buffer):
            current?.call.body.take(buffer)
        case .end:
            isAnswering = true
            answer(context: context)
        }
    }

    private func begin(_ head: HTTPRequestHead, context: ChannelHandlerContext) {
        let call = Call(head)
        var frame = Playback.Frame()
        frame.isHead = head.method == .HEAD
        frame.allowsChunked = head.version.major == 1 && head.version.minor >= 1
        frame.keepsAlive = head.isKeepAlive
        var id: Int?
        if call.route.face != .control {
            id = services.ledger.begin(isFirstOnConnection: !isCounted) { id in
                CallRow(
                    id: id, method: call.method, uri: call.uri,
                    requestID: call.header("x-request-id"), userAgent: call.header("user-agent"),
                    started: unixMilliseconds())
            }
            isCounted = true
        }
        current = Current(call: call, frame: frame, id: id)
        if call.header("expect")?.lowercased() == "100-continue" {
            let interim = ByteBuffer(string: "HTTP/1.1 100 Continue\r\n\r\n")
            context.writeAndFlush(wrapOutboundOut(interim), promise: nil)
        }
    }

    // MARK: - Answers

    private func answer(context: ChannelHandlerContext) {
        guard let call = current?.call else { return }
        guard call.route.face == .control else {
            let (answer, behaviour) = modelAnswer(to: call)
            play(answer, behaviour, context: context)
            return
        }
        if let answer = services.control.answer(to: call) {
            play(answer, Behaviour(), context: context)
            return
        }
        services.control.waitedAnswer(to: call, on: context.eventLoop)
            .assumeIsolated()
            .whenSuccess { answer in
                guard !self.isClosed else { return }
                self.play(answer, Behaviour(), context: context)
            }
    }

    private func modelAnswer(to call: Call) -> (Answer, Behaviour) {
        if let remembered, remembered.fits(call) {
            return (remembered.answer, remembered.behaviour)
        }
        let (answer, behaviour) = services.endpoints.answer(to: call)
        if call.route.endpoint.readsOnlyBody, call.body.byteCount <= Remembered.largestBody,
            case .whole(let bytes) = answer.content, bytes.count <= Remembered.largestBody
        {
            remembered = Remembered(
                uri: call.uri, key: call.presentedKey, body: call.body.bytes, answer: answer,
                behaviour: behaviour)
        }
        return (answer, behaviour)
    }

    private func play(_ answer: Answer, _ behaviour: Behaviour, context: ChannelHandlerContext) {
        if let socket = answer.socket, behaviour.status == nil, !behaviour.hangs,
            !behaviour.isGarbage
        {
            open(socket, after: behaviour.headDelay, context: context)
            return
        }
        guard var frame = current?.frame else { return }
        frame.standardHeaders = services.standardHeaders.bytes(at: Int(unixMilliseconds() / 1000))
        frame.requestID = services.standardHeaders.requestID(ofCall: current?.id ?? 0)
        frame.now = { unixMicroseconds() }
        current?.playback = Playback(answer, behaviour: behaviour, frame: frame)
        advance(context: context)
    }

    /// Answers 101 and leaves the connection to a WebSocket.
    private func open(
        _ socket: SocketOpening, after delay: Int, context: ChannelHandlerContext
    ) {
        context.eventLoop.assumeIsolated().scheduleTask(in: .milliseconds(Int64(delay))) {
            guard !self.isClosed, let ended = self.current, let id = ended.id else { return }
            self.current = nil
            let ledger = self.services.ledger
            ledger.note(
                id, head: unixMilliseconds(), bytesSent: 0, bytesReceived: 0)
            let lines = self.services.standardHeaders.bytes(at: Int(unixMilliseconds() / 1000))
            let requestID = self.services.standardHeaders.requestID(ofCall: id)
            context.write(
                self.wrapOutboundOut(socket.head(lines, requestID: requestID)), promise: nil)
            SocketHandler.takeOver(
                context.channel, from: self,
                SocketHandler(
                    socket.behaviour, answering: socket.responses,
                    headers: ended.call.headers.map { Header(name: $0.name, value: $0.value) },
                    key: ended.call.presentedKey, id: id, ledger))
        }
    }

    /// Sends pieces until the answer pauses, the socket is full or others should have a turn.
    private func advance(context: ChannelHandlerContext) {
        guard current?.isPlaying == false, current?.isPaused == false, current?.ending == nil
        else { return }
        current?.isPlaying = true
        defer { current?.isPlaying = false }
        for _ in 0..<CallHandler.burst {
            // Without room channelWritabilityChanged brings us back.
            guard !isClosed, context.channel.isWritable,
                let step = current?.playback?.next()
            else { return }
            switch step {
            case .pause(let milliseconds):
                resume(after: .milliseconds(Int64(milliseconds)), context: context)
                return
            case .send(let buffer):
                send(buffer, context: context)
            case .cut:
                end(.cut, closing: true, context: context)
                return
            case .done(let closing):
                end(.done, closing: closing, context: context)
                return
            case .silence:
                current?.isPaused = true
                return
            }
        }
        resume(after: .zero, context: context)
    }

    private func resume(after delay: TimeAmount, context: ChannelHandlerContext) {
        current?.isPaused = true
        // The next call of this connection must not be woken by this one's timer, and is not:
        // a call ends only when it is not paused.
        context.eventLoop.assumeIsolated().scheduleTask(in: delay) {
            guard !self.isClosed else { return }
            self.current?.isPaused = false
            self.advance(context: context)
        }
    }

    private func send(_ buffer: ByteBuffer, context: ChannelHandlerContext) {
        let count = buffer.readableBytes
        let promise = context.eventLoop.makePromise(of: Void.self)
        current?.unfinishedWrites += 1
        promise.futureResult.assumeIsolated().whenSuccess { self.written(count, context: context) }
        context.writeAndFlush(wrapOutboundOut(buffer), promise: promise)
    }

    private func written(_ count: Int, context: ChannelHandlerContext) {
        current?.bytesSent += count
        current?.unfinishedWrites -= 1
        if current?.head == nil { current?.head = unixMilliseconds() }
        note()
        if current?.unfinishedWrites == 0, current?.ending != nil { finish(context: context) }
    }

    private func note() {
        guard let current, let id = current.id else { return }
        services.ledger.note(
            id, head: current.head, bytesSent: current.bytesSent,
            bytesReceived: current.call.body.byteCount)
    }

    // MARK: - Ends

    private func end(_ end: CallRow.End, closing: Bool, context: ChannelHandlerContext) {
        current?.ending = (end, closing)
        if current?.unfinishedWrites == 0 { finish(context: context) }
    }

    private func finish(context: ChannelHandlerContext) {
        guard let ended = current, let ending = ended.ending else { return }
        current = nil
        isAnswering = false
        if let id = ended.id { services.ledger.end(id, ending.end) }
        if ending.closing {
            context.close(promise: nil)
            return
        }
        while !isAnswering, let part = waiting.popFirst() { take(part, context: context) }
        if waiting.isEmpty, isReadHeld {
            isReadHeld = false
            context.read()
        }
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        if context.channel.isWritable { advance(context: context) }
        context.fireChannelWritabilityChanged()
    }

    func channelInactive(context: ChannelHandlerContext) {
        isClosed = true
        waiting.removeAll()
        if let current, let id = current.id {
            note()
            services.ledger.end(id, .peerClosed)
        }
        current = nil
        if isCounted { services.ledger.connectionClosed() }
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        if error is HTTPParserError, current == nil {
            let refusal = ByteBuffer(
                string: "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n"
                    + "Content-Length: 0\r\n\r\n")
            context.writeAndFlush(wrapOutboundOut(refusal), promise: nil)
        }
        context.close(promise: nil)
    }
}
