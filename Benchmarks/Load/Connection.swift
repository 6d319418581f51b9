// One connection and the call on it.
//
// Confined to the run's event loop. Tells the run what happened; the run decides what comes next.

import NIOCore

/// Makes one call after another on a channel.
final class Connection: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    /// An open call.
    private struct Call {
        /// When it was sent, or when it was due.
        let due: NIODeadline
        let sent: NIODeadline
        var head: NIODeadline?
        var status = 0
        var firstPiece: NIODeadline?
        var lastPiece: NIODeadline?
        var hasNewBytes = false
        /// The last bytes of a streamed answer.
        var tail: [UInt8] = []
    }

    /// What an answered call has shown.
    struct Outcome {
        let due: NIODeadline
        let head: NIODeadline
        let end: NIODeadline
        let firstPiece: NIODeadline?
        let status: Int
        let endsInDone: Bool
    }

    /// The place in the run that this connection fills.
    let slot: Int
    private let run: Run
    private let isStream: Bool
    private var context: ChannelHandlerContext?
    private var reader: ResponseReader
    private var received = ByteBuffer()
    private var call: Call?

    private static let done = Array("data: [DONE]".utf8)

    init(slot: Int, run: Run, options: Options) {
        self.slot = slot
        self.run = run
        isStream = options.expectsStream
        reader = ResponseReader(toHead: options.method == "HEAD")
    }

    /// Sends the request; no call is open here.
    func begin(_ request: ByteBuffer, due: NIODeadline) {
        call = Call(due: due, sent: .now())
        context?.writeAndFlush(wrapOutboundOut(request), promise: nil)
    }

    /// Gives the call up when it was sent before that moment.
    func expire(sentBefore moment: NIODeadline) {
        if let call, call.sent < moment { fail(.timeout) }
    }

    func close() {
        context?.close(promise: nil)
    }

    // MARK: - Channel

    func channelActive(context: ChannelHandlerContext) {
        self.context = context
        run.connected(self)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var bytes = unwrapInboundIn(data)
        run.received(bytes.readableBytes)
        if received.readableBytes == 0 {
            received = bytes
        } else {
            received.writeBuffer(&bytes)
        }
        do throws(ResponseReader.Malformed) {
            while call != nil, let event = try reader.next(&received) { take(event) }
            // Bytes that no call asked for.
            if call == nil, received.readableBytes > 0 { close() }
        } catch {
            fail(.invalid)
        }
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        // What came in one read is one piece, however many chunks it holds.
        if call?.hasNewBytes == true { notePiece() }
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.context = nil
        if call?.head != nil, reader.endsWithConnection {
            finish(closes: true)
        } else {
            fail(.cut)
        }
        run.disconnected(self)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        context.close(promise: nil)
    }

    // MARK: - Call

    private func take(_ event: ResponseReader.Event) {
        switch event {
        case .head(let status):
            call?.head = .now()
            call?.status = status
            run.answerBegan()
        case .body(let bytes):
            call?.hasNewBytes = true
            guard isStream else { return }
            call?.tail += bytes.readableBytesView.suffix(64)
            if let count = call?.tail.count, count > 256 { call?.tail.removeFirst(count - 64) }
        case .end(let closes):
            finish(closes: closes)
        }
    }

    private func notePiece() {
        let now = NIODeadline.now()
        run.pieceCame(after: call?.lastPiece.map { now - $0 })
        if call?.firstPiece == nil { call?.firstPiece = now }
        call?.lastPiece = now
        call?.hasNewBytes = false
    }

    private func finish(closes: Bool) {
        if call?.hasNewBytes == true { notePiece() }
        guard let ended = call, let head = ended.head else { return }
        call = nil
        var tail = ended.tail[...]
        while tail.last == 0x0A || tail.last == 0x0D { tail.removeLast() }
        run.answered(
            Outcome(
                due: ended.due, head: head, end: .now(), firstPiece: ended.firstPiece,
                status: ended.status,
                endsInDone: tail.suffix(Connection.done.count).elementsEqual(Connection.done)))
        if closes {
            close()
        } else {
            run.isFree(self)
        }
    }

    /// Ends an open call as failed, and the connection in any case.
    private func fail(_ error: CallError) {
        if let failed = call {
            call = nil
            run.failed(error, hadHead: failed.head != nil)
        }
        close()
    }
}
