// One open stream, over server-sent events or a WebSocket, and the marks in what it receives.
//
// A mark is `@` with the sixteen digits of a moment in microseconds, wherever it stands: what lies
// between that moment and the arrival is a delivery's latency. Older marks than the newest are
// repetitions, as in the last frame of a reply. Of WebSockets only pings are answered.

import NIOCore

/// Subscribes on one channel and reads until the end.
final class Subscription: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private enum Phase {
        case head([UInt8])
        case open
        case over
    }

    static let markLength = 17
    private static let longestHead = 16 * 1024

    let isStalled: Bool
    private let run: SubscriberRun
    private let request: ByteBuffer
    private let isWebSocket: Bool
    private var phase = Phase.head([])
    private var newestMark: Int64 = 0
    /// A mark's beginning at the end of what was read.
    private var rest: [UInt8] = []
    private var frames = WebSocketFrames()

    init(_ run: SubscriberRun, _ request: ByteBuffer, isWebSocket: Bool, isStalled: Bool) {
        self.run = run
        self.request = request
        self.isWebSocket = isWebSocket
        self.isStalled = isStalled
    }

    func channelActive(context: ChannelHandlerContext) {
        context.writeAndFlush(wrapOutboundOut(request), promise: nil)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let bytes = unwrapInboundIn(data)
        switch phase {
        case .open: take(bytes, context)
        case .over: break
        case .head(var head):
            head += bytes.readableBytesView
            phase = .head(head)
            readHead(head, context)
        }
    }

    private func readHead(_ head: [UInt8], _ context: ChannelHandlerContext) {
        let text = String(decoding: head.prefix(Self.longestHead), as: UTF8.self)
        guard let end = text.utf8.firstRange(of: "\r\n\r\n".utf8) else {
            if head.count > Self.longestHead { context.close(promise: nil) }
            return
        }
        guard text.hasPrefix(isWebSocket ? "HTTP/1.1 101 " : "HTTP/1.1 200 ") else {
            context.close(promise: nil)
            return
        }
        phase = .open
        if isStalled {
            context.channel.setOption(.autoRead, value: false)
                .assumeIsolated()
                .whenComplete { _ in self.run.opened(self) }
        } else {
            run.opened(self)
        }
        let used = text.utf8.distance(from: text.utf8.startIndex, to: end.upperBound)
        take(ByteBuffer(bytes: head.dropFirst(used)), context)
    }

    private func take(_ bytes: ByteBuffer, _ context: ChannelHandlerContext) {
        if bytes.readableBytes == 0 { return }
        run.received(bytes.readableBytes)
        bytes.withUnsafeReadableBytes { bytes in
            if isWebSocket, frames.hasPing(in: bytes) {
                context.writeAndFlush(wrapOutboundOut(WebSocketFrames.pong), promise: nil)
            }
            if rest.isEmpty { return readMarks(in: bytes) }
            let joined = rest + bytes
            rest = []
            joined.withUnsafeBytes { readMarks(in: $0) }
        }
    }

    private func readMarks(in bytes: UnsafeRawBufferPointer) {
        let now = Clock.microseconds()
        var place = bytes.startIndex
        while let mark = bytes[place...].firstIndex(of: UInt8(ascii: "@")) {
            guard mark + Self.markLength <= bytes.endIndex else {
                rest = Array(bytes[mark...])
                return
            }
            place = mark + 1
            guard let moment = Self.number(bytes[place..<mark + Self.markLength]) else { continue }
            place = mark + Self.markLength
            if moment > newestMark, moment > run.begin {
                newestMark = moment
                run.delivered(after: now - moment)
            }
        }
    }

    private static func number(_ digits: Slice<UnsafeRawBufferPointer>) -> Int64? {
        var value: Int64 = 0
        for digit in digits {
            guard (0x30...0x39).contains(digit) else { return nil }
            value = value * 10 + Int64(digit & 0x0F)
        }
        return value
    }

    func channelInactive(context: ChannelHandlerContext) {
        let wasOpen = if case .open = phase { true } else { false }
        phase = .over
        run.closed(self, wasOpen: wasOpen)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        context.close(promise: nil)
    }
}

/// Follows a server's WebSocket frames as far as it takes to find the pings.
struct WebSocketFrames {
    static let pong = ByteBuffer(bytes: [0x8A, 0x80, 0, 0, 0, 0])

    private var head: [UInt8] = []
    private var left = 0

    /// Whether a ping begins in these bytes, which come next.
    mutating func hasPing(in bytes: UnsafeRawBufferPointer) -> Bool {
        var found = false
        var place = bytes.startIndex
        while place < bytes.endIndex {
            if left > 0 {
                let count = min(left, bytes.endIndex - place)
                left -= count
                place += count
                continue
            }
            head.append(bytes[place])
            place += 1
            guard head.count >= 2 else { continue }
            let short = Int(head[1] & 0x7F)
            let more = short == 126 ? 2 : short == 127 ? 8 : 0
            guard head.count == 2 + more else { continue }
            if head[0] & 0x0F == 0x9 { found = true }
            left = more == 0 ? short : head.dropFirst(2).reduce(0) { $0 << 8 | Int($1) }
            head.removeAll(keepingCapacity: true)
        }
        return found
    }
}
