internal import ProxyGPT

/// The answer to a request for a history.
enum HistoryReply: Sendable {
    case history(History)
    case notAllowed
    case failed
}

/// The frames that a subscriber receives before live ones, and where the live ones continue.
struct History: Sendable {
    var frames: [Frame] = []
    /// Live frames up to here are contained.
    var position: FrameID
    /// Messages whose end this history contains; the same end may still arrive as a live frame.
    var ended: Set<Message.ID> = []
    /// Messages that are running as far as this history goes, or that the store alone has as running.
    var running: Set<Message.ID> = []
}
