/// Keeps the ends of messages that the bus did not take from their process, until another process
/// has carried them.
package protocol MissedEndStore: Sendable {
    /// Stores ends, at most `MissedEnds.limit`: more are too many to be carried one by one.
    func note(missedEnds ids: [Message.ID], now: Timestamp) async throws

    func missedEnds(now: Timestamp) async throws -> MissedEnds

    /// Removes ends that have been carried.
    func forget(missedEnds ids: [Message.ID]) async throws
}

/// Ends that no bus has carried.
package struct MissedEnds: Sendable {
    /// With this many ends the log begins a new epoch, and every subscriber reads its chat again.
    package static let limit = 1000
    /// The log begins a new epoch as well when the oldest end is this old, in milliseconds: the log
    /// no longer has its frames.
    package static let lifetime: Int64 = 600_000

    /// The number of stored ends.
    package let ids: [Message.ID]
    /// The messages of stored ends that exist and have ended.
    package let frames: [StreamFrame]
    /// The age of the oldest end, in milliseconds.
    package let age: Int64

    package init(ids: [Message.ID], frames: [StreamFrame], age: Int64) {
        self.ids = ids
        self.frames = frames
        self.age = age
    }

    /// Whether the ends are too many or too old to be carried one by one.
    package var demandNewEpoch: Bool { ids.count >= Self.limit || age > Self.lifetime }
}
