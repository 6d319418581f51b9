internal import ProxyGPT

/// A frame with its place in its reply.
struct PlacedFrame: Equatable, Sendable {
    /// No reply is as long: positions are added to.
    static let largestPosition: UInt64 = 1 << 40

    let frame: StreamFrame
    /// How many bytes of the reply come before it.
    let position: Int
}

/// How far the words of replies have come. Whoever sends says of each frame how many bytes come before
/// it; whoever reads passes over what does not follow what was read before: words that are there twice,
/// or whose predecessors are missing.
struct WordPositions: Sendable {
    /// Replies that are under way at once, at most: of more nothing is known.
    private static let limit = 20_000

    private var ends: [Message.ID: Int] = [:]

    /// The position of a frame that is to be sent next.
    mutating func take(_ frame: StreamFrame) -> Int {
        let position = frame.isBeginning || frame.isEnd ? 0 : ends[frame.messageID] ?? 0
        move(frame, from: position)
        return position
    }

    /// Whether a frame that was read follows what was read before. The first one of a message always
    /// does: reading may begin in the middle.
    mutating func admits(_ frame: StreamFrame, at position: Int) -> Bool {
        guard frame.isEnd || position == ends[frame.messageID] ?? position else { return false }
        move(frame, from: position)
        return true
    }

    private mutating func move(_ frame: StreamFrame, from position: Int) {
        guard case .words(let text, _) = frame.content else {
            ends[frame.messageID] = nil
            return
        }
        // Those whose end was never seen.
        if ends.count >= Self.limit, ends[frame.messageID] == nil { ends = [:] }
        ends[frame.messageID] = position &+ text.utf8.count
    }
}
