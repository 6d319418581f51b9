internal import ProxyGPT

/// What comes of asking for a history.
enum HistoryReply: Sendable {
    case history(History)
    case notAllowed
    case failed
}

/// What a subscriber is told before live frames, and where they go on.
struct History: Sendable {
    var frames: [Frame] = []
    /// Live frames up to here are contained.
    var position: FrameID
    /// Messages whose end is contained, and may yet come as a live frame.
    var settled: Set<Message.ID> = []
    /// Messages that are running as far as this history goes, or that the store alone has as running.
    var running: Set<Message.ID> = []
}
