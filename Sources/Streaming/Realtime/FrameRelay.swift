// One direction of a WebSocket that passes through: frames in, the same frames out.
//
// A value without I/O. Frames keep their borders, so that fragments stay fragments, and their
// payload passes in the pieces in which it comes: of a data frame nothing is held but the few bytes
// that may be the beginning of the key. Control frames are held until they are whole, which is 125
// bytes. Whether text is UTF-8 is the peers' business.

internal import NIOCore
internal import ProxyGPT

/// Passes the frames of one peer on to the other.
struct FrameRelay {
    enum Outcome: Equatable {
        case open
        /// The peer's close has been passed on, and nothing more will be.
        case closed(WebSocketClose?)
        /// The peer broke the protocol, and is to receive this close.
        case failed(WebSocketClose)
    }

    /// A data frame whose bytes are not all out.
    private struct Segment {
        /// Empty once it is out.
        var head: [UInt8]
        let mask: [UInt8]
        let size: Int
        var left: Int
    }

    /// Fragments that may wait for each other. Only empty ones can be so many.
    private static let segmentLimit = 64

    private let source: RealtimeSide
    private let newKeyMask: KeyMask
    private let makeMask: () -> [UInt8]
    private let transcriptLimit: Int

    private var head: [UInt8] = []
    private var current: FrameHead?
    private var position = 0
    private var control: [UInt8] = []
    /// The opcode of a message that has begun and not ended.
    private var message: FrameHead.Opcode?
    private var keyMask: KeyMask
    private var usageReader = UsageReader()
    private var segments: [Segment] = []
    private var outcome = Outcome.open

    /// The beginning of the text messages, each on a line of its own.
    private(set) var transcript: [UInt8] = []
    /// The tokens of the upstream's replies, as far as the upstream has reported them.
    var usage: Usage? { usageReader.usage }
    var model: String? { usageReader.model }
    /// The payload of a ping of our own, whose answer is not the other peer's.
    var awaitedPong: [UInt8]?

    /// - Parameters:
    ///   - makeMask: makes four random bytes for each frame that goes upstream.
    ///   - transcriptLimit: how much of the text messages is kept.
    init(
        from source: RealtimeSide, keyMask: KeyMask, transcriptLimit: Int,
        makeMask: @escaping () -> [UInt8]
    ) {
        self.source = source
        newKeyMask = keyMask
        self.keyMask = keyMask
        self.transcriptLimit = transcriptLimit
        self.makeMask = makeMask
    }

    /// Takes bytes as they come, in whatever pieces, and adds what is to leave to `output`.
    mutating func take(_ input: inout ByteBuffer, into output: inout ByteBuffer) -> Outcome {
        while case .open = outcome, input.readableBytes > 0 {
            if let current {
                let count = min(current.size - position, input.readableBytes)
                guard let piece = input.readBytes(length: count) else { break }
                takePayload(piece, of: current, into: &output)
            } else {
                guard let byte = input.readInteger(as: UInt8.self) else { break }
                head.append(byte)
                if FrameHead.isWorthReading(head) { takeHead(into: &output) }
            }
        }
        return outcome
    }

    /// Whether a frame of our own may be put into the output; lets go first what is held back.
    mutating func makeRoom(in output: inout ByteBuffer) -> Bool {
        if current?.opcode.isControl != true && current != nil { return false }
        letGo(into: &output)
        return segments.isEmpty
    }

    /// A whole control frame as this direction's receiver wants it.
    func frame(_ opcode: FrameHead.Opcode, _ payload: [UInt8]) -> [UInt8] {
        var payload = payload
        let mask = newMask()
        let head = FrameHead(isFinal: true, opcode: opcode, size: payload.count, mask: mask)
        FrameHead.apply(mask, to: &payload, at: 0)
        return head.bytes + payload
    }

    /// A client's frames are masked with unpredictable bytes; a server's are not.
    private func newMask() -> [UInt8] { source == .client ? makeMask() : [] }

    // MARK: - Heads

    private mutating func takeHead(into output: inout ByteBuffer) {
        switch FrameHead.read(head, isMasked: source == .client, continues: message != nil) {
        case .incomplete: return
        case .broken(let close): outcome = .failed(close)
        case .head(let found):
            head.removeAll(keepingCapacity: true)
            position = 0
            if found.opcode.isControl {
                current = found
                control = []
            } else {
                begin(found, into: &output)
            }
            if found.size == 0 { endFrame(found, into: &output) }
        }
    }

    private mutating func begin(_ frame: FrameHead, into output: inout ByteBuffer) {
        if message == nil {
            message = frame.opcode
            keyMask = newKeyMask
        }
        current = frame
        if segments.count >= Self.segmentLimit { letGo(into: &output) }
        var passed = frame
        passed.mask = newMask()
        segments.append(
            Segment(
                head: passed.bytes, mask: passed.mask, size: frame.size, left: frame.size))
        emit([], into: &output)
    }

    // MARK: - Payloads

    private mutating func takePayload(
        _ masked: [UInt8], of frame: FrameHead, into output: inout ByteBuffer
    ) {
        var piece = masked
        FrameHead.apply(frame.mask, to: &piece, at: position)
        position += piece.count
        if frame.opcode.isControl {
            control += piece
        } else {
            if message == .text, transcript.count < transcriptLimit {
                transcript += piece.prefix(transcriptLimit - transcript.count)
            }
            if message == .text, source == .upstream { usageReader.feed(piece) }
            // The client does not know the key: only the upstream's bytes can hold it.
            emit(source == .upstream ? keyMask.feed(piece) : piece, into: &output)
        }
        if position == frame.size { endFrame(frame, into: &output) }
    }

    private mutating func endFrame(_ frame: FrameHead, into output: inout ByteBuffer) {
        current = nil
        if frame.opcode.isControl {
            // It may stand between fragments and not within one.
            letGo(into: &output)
            passControl(frame.opcode, into: &output)
            control = []
        } else if frame.isFinal {
            if message == .text, transcript.count < transcriptLimit { transcript.append(0x0A) }
            usageReader.endMessage()
            letGo(into: &output)
            message = nil
        }
    }

    private mutating func passControl(
        _ opcode: FrameHead.Opcode, into output: inout ByteBuffer
    ) {
        switch opcode {
        case .close:
            do throws(WebSocketClose.Broken) {
                var close = try WebSocketClose.read(control)
                if source == .upstream, let told = close {
                    // A reason is an error message, and may quote as much of the key as one.
                    close = WebSocketClose(
                        code: told.code, reason: newKeyMask.masked(told.reason))
                }
                output.writeBytes(frame(.close, close?.payload ?? []))
                outcome = .closed(close)
            } catch {
                outcome = .failed(error.close)
            }
        case .pong where control == awaitedPong:
            awaitedPong = nil
        default:
            let isQuoting = source == .upstream
            output.writeBytes(frame(opcode, isQuoting ? newKeyMask.masked(control) : control))
        }
    }

    /// Lets go what was held back because it may have been the beginning of the key.
    private mutating func letGo(into output: inout ByteBuffer) {
        let held = keyMask.release()
        if !held.isEmpty { emit(held, into: &output) }
    }

    /// Writes bytes behind the heads of the frames that they belong to.
    private mutating func emit(_ bytes: [UInt8], into output: inout ByteBuffer) {
        var rest = bytes[...]
        while var segment = segments.first {
            output.writeBytes(segment.head)
            segment.head = []
            var piece = Array(rest.prefix(segment.left))
            rest = rest.dropFirst(piece.count)
            FrameHead.apply(segment.mask, to: &piece, at: segment.size - segment.left)
            output.writeBytes(piece)
            segment.left -= piece.count
            if segment.left > 0 {
                segments[0] = segment
                return
            }
            segments.removeFirst()
        }
    }
}
