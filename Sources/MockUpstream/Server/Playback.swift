// The sending of one answer, as a value.
//
// An answer and the call's behaviour go in, steps come out: wait, send, cut, done. The HTTP is
// written here and not by a library, since many answers are wrong on purpose. Each `send` is one
// write and one flush. Owns no connection and no clock.

import NIOCore

/// Turns an answer into the steps of sending it.
struct Playback {
    /// The next step of the connection.
    enum Step {
        case pause(milliseconds: Int)
        case send(ByteBuffer)
        /// Closes the connection although the answer is not complete.
        case cut
        /// Nothing more is sent, and the connection stays open.
        case silence
        case done(closing: Bool)
    }

    /// The facts about request and time that the answer needs.
    struct Frame {
        var isHead = false
        var allowsChunked = true
        var keepsAlive = true
        var standardHeaders: [UInt8] = []
        var requestID = ""
        /// Microseconds since 1970.
        var now: @Sendable () -> Int64 = { 0 }
    }

    private enum Framing: Equatable {
        case length(Int), chunked, untilClose, noBody
    }

    private enum Phase {
        case start, head, pieces, end, cut, silence
    }

    private let answer: Answer
    private let behaviour: Behaviour
    private let frame: Frame
    private var framing: Framing
    private var source: (any PieceSource)?
    private var phase = Phase.start
    private var isClosing: Bool
    private var sentPieces = 0
    private var waiting: Piece?
    private var bytesLeft: Int?

    init(_ answer: Answer, behaviour: Behaviour, frame: Frame) {
        self.answer = answer
        self.behaviour = behaviour
        self.frame = frame
        isClosing = behaviour.closes || !frame.keepsAlive
        bytesLeft = behaviour.cutAfterBytes

        let knownLength: Int?
        switch answer.content {
        case .whole(let bytes):
            knownLength = bytes.count
            if behaviour.splitsBody {
                source = SplitBody(bytes, pieces: behaviour.pieceCount)
            } else if behaviour.hasNoContentLength || behaviour.cutAfterBytes != nil {
                source = SplitBody(bytes, pieces: 1)
            }
        case .pieces(let pieces, let byteCount):
            knownLength = byteCount
            source = pieces
        }
        if answer.status == 204 || answer.status == 304 {
            framing = .noBody
        } else if let knownLength, !behaviour.hasNoContentLength, !behaviour.isEndless {
            framing = .length(knownLength)
        } else {
            framing = frame.allowsChunked ? .chunked : .untilClose
        }
        if framing == .untilClose { isClosing = true }
    }

    mutating func next() -> Step {
        switch phase {
        case .start:
            phase = behaviour.hangs ? .silence : .head
            guard behaviour.headDelay > 0, !behaviour.hangs else { return next() }
            return .pause(milliseconds: behaviour.headDelay)
        case .head:
            return sendHead()
        case .pieces:
            return sendPiece()
        case .end:
            return .done(closing: isClosing)
        case .cut:
            return .cut
        case .silence:
            return .silence
        }
    }

    // MARK: - Head

    private mutating func sendHead() -> Step {
        if behaviour.isGarbage {
            phase = .cut
            return .send(ByteBuffer(bytes: [0x16, 3, 1, 0, 255] + Array("no HTTP\r\n\r\n".utf8)))
        }
        var body: [UInt8] = []
        if frame.isHead || framing == .noBody {
            phase = .end
        } else if let cutAfter = behaviour.cutAfter, cutAfter == 0 {
            phase = .cut
        } else if source != nil {
            phase = .pieces
        } else {
            if case .whole(let bytes) = answer.content { body = bytes }
            phase = .end
        }
        return .send(head(followedBy: body))
    }

    private func head(followedBy body: [UInt8]) -> ByteBuffer {
        var buffer = ByteBufferAllocator().buffer(
            capacity: frame.standardHeaders.count + body.count + 512)
        buffer.writeString("HTTP/1.1 ")
        buffer.writeString(String(answer.status))
        buffer.writeString(" ")
        buffer.writeString(Playback.reason(answer.status))
        buffer.writeString("\r\n")
        buffer.writeBytes(frame.standardHeaders)
        func line(_ name: String, _ value: String) {
            buffer.writeString(name)
            buffer.writeString(": ")
            buffer.writeString(value)
            buffer.writeString("\r\n")
        }
        line("x-request-id", frame.requestID)
        switch framing {
        case .length(let count):
            line("Content-Type", answer.contentType)
            line("Content-Length", String(count))
        case .chunked:
            line("Content-Type", answer.contentType)
            line("Transfer-Encoding", "chunked")
        case .untilClose:
            line("Content-Type", answer.contentType)
        case .noBody:
            break
        }
        if isClosing {
            line("Connection", "close")
        } else if !frame.allowsChunked {
            line("Connection", "keep-alive")
        }
        for header in answer.headers { line(header.name, header.value) }
        if let retryAfter = behaviour.retryAfter { line("Retry-After", retryAfter) }
        for header in behaviour.headers { line(header.name, header.value) }
        buffer.writeString("\r\n")
        buffer.writeBytes(body)
        return buffer
    }

    static func reason(_ status: Int) -> String {
        switch status {
        case 200: "OK"
        case 204: "No Content"
        case 400: "Bad Request"
        case 401: "Unauthorized"
        case 404: "Not Found"
        case 405: "Method Not Allowed"
        case 413: "Content Too Large"
        case 429: "Too Many Requests"
        case 500: "Internal Server Error"
        case 503: "Service Unavailable"
        case 504: "Gateway Timeout"
        default: "Status"
        }
    }

    // MARK: - Pieces

    private mutating func sendPiece() -> Step {
        var piece: Piece
        if let ready = waiting {
            waiting = nil
            piece = ready
        } else {
            guard let made = source?.next() ?? filler() else {
                phase = .end
                guard framing == .chunked else { return next() }
                return .send(ByteBuffer(string: "0\r\n\r\n"))
            }
            piece = made
            if piece.isCounted, sentPieces > 0, behaviour.chunkDelay > 0 {
                waiting = piece
                return .pause(milliseconds: behaviour.chunkDelay)
            }
        }
        if let left = bytesLeft {
            piece.bytes = Array(piece.bytes.prefix(left))
            bytesLeft = left - piece.bytes.count
            if bytesLeft == 0 { phase = .cut }
        }
        if piece.isCounted {
            sentPieces += 1
            if sentPieces == behaviour.cutAfter { phase = .cut }
        }
        guard !piece.bytes.isEmpty else { return next() }
        if behaviour.hasMarks { Mark.stamp(&piece.bytes, at: frame.now()) }
        return .send(framed(piece.bytes))
    }

    /// The filler of an endless answer after its own body.
    private func filler() -> Piece? {
        guard behaviour.isEndless else { return nil }
        return Piece(bytes: [UInt8](repeating: 0x20, count: max(1, behaviour.bytes ?? 1024)))
    }

    private func framed(_ bytes: [UInt8]) -> ByteBuffer {
        guard framing == .chunked else { return ByteBuffer(bytes: bytes) }
        var buffer = ByteBufferAllocator().buffer(capacity: bytes.count + 16)
        buffer.writeString(String(bytes.count, radix: 16))
        buffer.writeString("\r\n")
        buffer.writeBytes(bytes)
        buffer.writeString("\r\n")
        return buffer
    }
}
