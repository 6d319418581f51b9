internal import ProxyGPT

/// A frame with its position in its reply.
struct PlacedFrame: Equatable, Sendable {
    /// No reply is as long: positions are added to.
    static let largestPosition: UInt64 = 1 << 40

    let frame: StreamFrame
    /// The number of bytes of the reply before it.
    let position: Int
}

/// The positions that replies have reached. A sender adds to each frame the number of bytes before
/// it; a receiver skips frames that do not follow the ones it has: deltas that come twice, or whose
/// predecessors are missing.
struct DeltaPositions: Sendable {
    /// The most replies under way at once: of more nothing is known.
    private static let limit = 20_000

    private var ends: [Message.ID: Int] = [:]

    /// The position of a frame that is to be sent next.
    mutating func take(_ frame: StreamFrame) -> Int {
        let position = frame.isBeginning || frame.isEnd ? 0 : ends[frame.messageID] ?? 0
        move(frame, from: position)
        return position
    }

    /// Whether a received frame follows the one before. The first one of a message always does:
    /// receiving may begin in the middle.
    mutating func admits(_ frame: StreamFrame, at position: Int) -> Bool {
        guard frame.isEnd || position == ends[frame.messageID] ?? position else { return false }
        move(frame, from: position)
        return true
    }

    private mutating func move(_ frame: StreamFrame, from position: Int) {
        guard case .delta(let text, _) = frame.content else {
            ends[frame.messageID] = nil
            return
        }
        // Replies whose end was never received.
        if ends.count >= Self.limit, ends[frame.messageID] == nil { ends = [:] }
        ends[frame.messageID] = position &+ text.utf8.count
    }
}
