// Frames as bytes: the form of a stream's entry, and of a batch that is published. A batch is the
// id of its first frame, a line's end, and the frames behind their lengths; their numbers follow
// one another. A frame carries this installation's seal and the number of bytes of its reply before
// it: so no frame of another program is accepted, and none is accepted twice or out of order.

internal import Formats
internal import ProxyGPT

extension StreamFrame {
    /// Whether it is the first of its message, which brings the prompt.
    var isBeginning: Bool {
        if case .delta(_, _?) = content { true } else { false }
    }

    /// The frame as bytes, behind their number and its seal.
    /// - Parameter position: the number of bytes of the reply before it.
    func encoded(at position: Int, _ seal: Seal) -> [UInt8] {
        var writer = ByteWriter()
        switch content {
        case .delta(let text, let prompt):
            writer.bytes.append(prompt == nil ? FrameKind.delta : FrameKind.beginning)
            writeIDs(to: &writer)
            writer.number(UInt64(clamping: position))
            writer.text(text)
            if let prompt { writer.text(prompt) }
        case .ended:
            writer.bytes.append(FrameKind.end)
            writeIDs(to: &writer)
        }
        let sealed = seal.closed(writer.bytes)
        var whole = ByteWriter()
        whole.number(UInt64(sealed.count))
        return whole.bytes + sealed
    }

    private func writeIDs(to writer: inout ByteWriter) {
        writer.text(chatID.text)
        writer.text(messageID.text)
        writer.text(userID.text)
    }

    /// The name of its kind in the script that appends it.
    var kind: UInt8 {
        switch content {
        case .delta: isBeginning ? FrameKind.beginning : FrameKind.delta
        case .ended: FrameKind.end
        }
    }

    /// The next frame of `reader`. Throws where the bytes are no frame of this installation; nil
    /// for a kind of a newer release.
    static func read(
        from reader: inout ByteReader, _ seal: Seal
    ) throws(MalformedFrame) -> PlacedFrame? {
        guard let count = reader.number(), let bytes = reader.slice(count),
            let content = seal.opened(bytes)
        else { throw MalformedFrame() }
        var fields = ByteReader(content)
        guard let kind = fields.byte() else { throw MalformedFrame() }
        guard [FrameKind.beginning, FrameKind.delta, FrameKind.end].contains(kind) else {
            return nil
        }
        guard let chat = fields.text(), let message = fields.text(), let user = fields.text() else {
            throw MalformedFrame()
        }
        let frame: Content
        var position: UInt64 = 0
        if kind == FrameKind.end {
            frame = .ended
        } else {
            let prompt: String?
            guard let before = fields.number(), before <= PlacedFrame.largestPosition,
                let text = fields.text()
            else { throw MalformedFrame() }
            position = before
            if kind == FrameKind.beginning {
                guard let read = fields.text() else { throw MalformedFrame() }
                prompt = read
            } else {
                prompt = nil
            }
            frame = .delta(text, prompt: prompt)
        }
        guard fields.isAtEnd else { throw MalformedFrame() }
        return PlacedFrame(
            frame: StreamFrame(
                chatID: Chat.ID(chat), messageID: Message.ID(message), userID: User.ID(user), frame),
            position: Int(position))
    }
}

/// Bytes that are no encoded frame.
struct MalformedFrame: Error, CustomStringConvertible {
    var description: String { "a frame that cannot be decoded" }
}

/// The kinds of frames, as letters.
enum FrameKind {
    static let beginning = UInt8(ascii: "b")
    static let delta = UInt8(ascii: "w")
    static let end = UInt8(ascii: "e")
}

/// Frames that were appended in one step.
struct FrameBatch: Equatable, Sendable {
    let first: FrameID
    /// The number of ids it takes: frames of unknown kinds are counted.
    let count: Int
    let frames: [LoggedFrame]
    /// For each frame, the number of bytes of its reply before it.
    let positions: [Int]
    /// Its size as it was published, in bytes.
    let size: Int

    /// The most frames of a batch: as many as the log keeps. Each takes time to read.
    static let largestCount = 20_000

    /// The number of the last frame.
    var last: Int64 { first.sequence &+ Int64(count) &- 1 }

    /// Reads a batch that this installation published; nil for anything else.
    init?(_ bytes: [UInt8], _ seal: Seal) {
        guard let end = bytes.prefix(100).firstIndex(of: 0x0A),
            let text = String(validating: bytes[..<end], as: UTF8.self),
            let first = FrameID(text), first.sequence > 0
        else { return nil }
        var reader = ByteReader(Array(bytes[(end + 1)...]))
        var frames: [LoggedFrame] = []
        var positions: [Int] = []
        var count = 0
        do {
            while !reader.isAtEnd {
                let sequence = first.sequence &+ Int64(count)
                guard sequence <= FrameID.largestSequence, count < Self.largestCount else {
                    return nil
                }
                if let read = try StreamFrame.read(from: &reader, seal) {
                    let id = FrameID(epoch: first.epoch, sequence: sequence)
                    frames.append(LoggedFrame(id: id, frame: read.frame))
                    positions.append(read.position)
                }
                count += 1
            }
        } catch {
            return nil
        }
        guard count > 0 else { return nil }
        self.first = first
        self.count = count
        self.frames = frames
        self.positions = positions
        size = bytes.count
    }
}
