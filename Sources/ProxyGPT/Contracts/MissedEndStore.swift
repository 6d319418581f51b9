/// Keeps the ends of messages that a bus did not take from the process that wrote them, until a process
/// whose bus is there has carried them.
package protocol MissedEndStore: Sendable {
    /// Notes ends. Those beyond `MissedEnds.limit` are left out: there are too many to be told one by one.
    func note(missedEnds ids: [Message.ID], now: Timestamp) async throws

    func missedEnds(now: Timestamp) async throws -> MissedEnds

    /// Removes ends that have been carried.
    func forget(missedEnds ids: [Message.ID]) async throws
}

/// Ends that no bus has carried.
package struct MissedEnds: Sendable {
    /// With as many the log begins anew, which tells everybody how chats stand.
    package static let limit = 1000
    /// So does it when the oldest is older, in milliseconds: its frames are gone from the log by then.
    package static let lifetime: Int64 = 600_000

    /// Of all that are noted.
    package let ids: [Message.ID]
    /// Of those whose messages are there and have ended.
    package let frames: [StreamFrame]
    /// How old the oldest is, in milliseconds.
    package let age: Int64

    package init(ids: [Message.ID], frames: [StreamFrame], age: Int64) {
        self.ids = ids
        self.frames = frames
        self.age = age
    }

    /// Whether they are too many, or too old, to be carried.
    package var demandNewEpoch: Bool { ids.count >= Self.limit || age > Self.lifetime }
}
