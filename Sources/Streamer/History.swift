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
    /// Messages whose end is contained although it may yet come as a live frame.
    var settled: Set<Message.ID> = []
    /// Messages that are running, as far as this history goes.
    var running: Set<Message.ID> = []
    /// Has running messages alone: what ended while it was read, up to `position`, is not in it.
    var lacksEnds = false
}
