/// Published ends of messages that the bus has not carried, as far as this process knows.
///
/// An end that waits too long is stored, and another process carries it: the bus may be unreachable
/// for this process alone.
package struct PendingEnds: Sendable {
    private struct Entry {
        let since: Int64
        var isNoted = false
        /// The bus will not carry it.
        var isDropped = false
    }

    /// The most ends; more than the queue of any bus.
    private static let limit = 65_536

    private var entries: [Message.ID: Entry] = [:]

    package init() {}

    /// Adds a published frame if it is an end.
    /// - Parameter isTaken: false where the bus has no room for it.
    package mutating func add(_ frame: StreamFrame, isTaken: Bool, now: Int64) {
        guard frame.isEnd, entries.count < Self.limit else { return }
        let known = entries[frame.messageID]
        entries[frame.messageID] = Entry(
            since: known?.since ?? now, isNoted: known?.isNoted ?? false, isDropped: !isTaken)
    }

    /// Removes frames that were carried.
    package mutating func carried(_ frames: [StreamFrame]) {
        if entries.isEmpty { return }
        for frame in frames where frame.isEnd { entries[frame.messageID] = nil }
    }

    /// Marks frames that the bus has dropped.
    package mutating func dropped(_ frames: [StreamFrame]) {
        for frame in frames where frame.isEnd { entries[frame.messageID]?.isDropped = true }
    }

    /// The ends that were published so many milliseconds ago or will not be carried, each once.
    package mutating func takeOverdue(after milliseconds: Int64, now: Int64) -> [Message.ID] {
        if entries.isEmpty { return [] }
        var overdue: [Message.ID] = []
        for (id, entry) in entries
        where !entry.isNoted && (entry.isDropped || now &- entry.since >= milliseconds) {
            overdue.append(id)
            entries[id]?.isNoted = true
        }
        entries = entries.filter { !($0.value.isNoted && $0.value.isDropped) }
        return overdue
    }

    /// Takes ends back that could not be stored.
    package mutating func putBack(_ ids: [Message.ID], now: Int64) {
        for id in ids where entries.count < Self.limit {
            if entries[id] != nil {
                entries[id]?.isNoted = false
            } else {
                // This end was taken as one that the bus will not carry.
                entries[id] = Entry(since: now, isDropped: true)
            }
        }
    }

    package func contains(_ id: Message.ID) -> Bool { entries[id] != nil }
}
