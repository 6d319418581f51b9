// Frames as bytes: what a stream's entry holds, and what a group of them looks like when it is
// published. A group is the id of its first frame, a line's end, and the frames behind their lengths;
// their numbers follow one another. A frame is marked as this installation's, and says how many bytes of
// its reply come before it: so nobody else's is taken for one, and none is taken twice or out of its
// place.

internal import Formats
internal import ProxyGPT

extension StreamFrame {
    /// Whether it is the first of its message, which brings the prompt.
    var isBeginning: Bool {
        if case .words(_, _?) = content { true } else { false }
    }

    /// What it weighs in the queue and in a group, roughly, in bytes.
    var size: Int {
        switch content {
        case .words(let text, let prompt): 256 + text.utf8.count + (prompt?.utf8.count ?? 0)
        case .ended: 256
        }
    }

    /// The frame as bytes, behind their number and its seal.
    /// - Parameter position: how many bytes of the reply come before it.
    func encoded(at position: Int, _ seal: Seal) -> [UInt8] {
        var writer = ByteWriter()
        switch content {
        case .words(let text, let prompt):
            writer.bytes.append(prompt == nil ? FrameKind.words : FrameKind.beginning)
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

    /// How the script that appends it calls it.
    var kind: UInt8 {
        switch content {
        case .words: isBeginning ? FrameKind.beginning : FrameKind.words
        case .ended: FrameKind.end
        }
    }

    /// The next frame of `reader`. Throws where the bytes are no frame of ours; nil for a kind of a newer
    /// release.
    static func read(
        from reader: inout ByteReader, _ seal: Seal
    ) throws(MalformedFrame) -> PlacedFrame? {
        guard let count = reader.number(), let bytes = reader.slice(count),
            let content = seal.opened(bytes)
        else { throw MalformedFrame() }
        var fields = ByteReader(content)
        guard let kind = fields.byte() else { throw MalformedFrame() }
        guard [FrameKind.beginning, FrameKind.words, FrameKind.end].contains(kind) else {
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
            frame = .words(text, prompt: prompt)
        }
        guard fields.isAtEnd else { throw MalformedFrame() }
        return PlacedFrame(
            frame: StreamFrame(
                chatID: Chat.ID(chat), messageID: Message.ID(message), userID: User.ID(user), frame),
            position: Int(position))
    }

    /// One frame for all words of a message within a group. Frames of one message keep their order;
    /// those of different messages came within 20 ms, and nobody asks for theirs.
    static func merge(_ group: [StreamFrame]) -> [StreamFrame] {
        if group.count == 1 { return group }
        var merged: [StreamFrame] = []
        var open: [Message.ID: Int] = [:]
        for frame in group {
            if frame.isEnd {
                open[frame.messageID] = nil
            } else if let index = open[frame.messageID] {
                merged[index] = merged[index].joined(with: frame)
                continue
            } else {
                open[frame.messageID] = merged.count
            }
            merged.append(frame)
        }
        return merged
    }

    private func joined(with next: StreamFrame) -> StreamFrame {
        guard case .words(let words, let prompt) = content,
            case .words(let more, let latePrompt) = next.content
        else { return self }
        return StreamFrame(
            chatID: chatID, messageID: messageID, userID: userID,
            .words(words + more, prompt: prompt ?? latePrompt))
    }
}

/// Bytes that no frame is encoded as.
struct MalformedFrame: Error, CustomStringConvertible {
    var description: String { "a frame that cannot be decoded" }
}

/// The kinds of frames, as letters.
enum FrameKind {
    static let beginning = UInt8(ascii: "b")
    static let words = UInt8(ascii: "w")
    static let end = UInt8(ascii: "e")
}

/// Frames that were appended in one step.
struct FrameBatch: Equatable, Sendable {
    let first: FrameID
    /// How many numbers it takes: frames of unknown kinds are counted.
    let count: Int
    let frames: [LoggedFrame]
    /// Of each of them, how many bytes of its reply come before it.
    let positions: [Int]
    /// Bytes that it came as.
    let size: Int

    /// The most frames that a group may have: as many as the log keeps. Each takes time to read.
    static let largestCount = 20_000

    /// The number of the last frame.
    var last: Int64 { first.sequence &+ Int64(count) &- 1 }

    /// Reads a group as it was published by this installation; nil for anything else.
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
