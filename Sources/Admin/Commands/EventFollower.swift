internal import EventLoop
internal import Formats
internal import ProxyGPT

/// Shows new events until it is interrupted.
///
/// A row is written when its call begins or ends, but its id has the time of the beginning. So every poll
/// reads the last seconds again and leaves out the rows that were shown. Rows of open calls are read again
/// until they are closed.
@EventLoop final class EventFollower {
    /// The seconds that a poll reads again, and the milliseconds between two polls.
    private static let overlap: Int64 = 10
    private static let interval: Int64 = 250
    /// The most open calls that are remembered; beyond that the oldest are forgotten.
    private static let openLimit = 20_000
    private static let batch = 500

    private let store: any AdminStore
    private let filter: EventScan.Filter
    private let command: Events
    private let context: CommandContext
    private var start: String
    private var seen: Set<String> = []
    private var open: Set<String> = []
    private var names: [User.ID: String] = [:]

    /// - Parameter since: whether events from before this moment are shown as well.
    init(
        _ store: any AdminStore, _ scan: EventScan, since: Bool, _ command: Events,
        _ context: CommandContext
    ) {
        self.store = store
        filter = scan.filter
        self.command = command
        self.context = context
        start = since ? scan.start : EventScan.bound(context.now)
    }

    func run() async throws {
        if command.format == .csv { context.console.print(CSV.line(EventRecord.fields)) }
        while true {
            let began = monotonicMilliseconds()
            try await poll()
            context.console.flush()
            // Under thousands of calls a second a poll takes time; most of it is left to the service.
            let pause = max(Self.interval, 4 * (monotonicMilliseconds() - began))
            await EventLoop.sleep(milliseconds: pause)
        }
    }

    private func poll() async throws {
        var ended: [String] = []
        let next = max(
            start, EventScan.bound(context.now.adding(seconds: -Self.overlap)))
        var position = start
        var fresh: Set<String> = []
        while true {
            let rows = try await store.eventIDs(from: position, limit: 2000)
            for (id, hasEnded) in rows {
                if id >= next { fresh.insert(id) }
                guard !seen.contains(id) else { continue }
                if hasEnded { ended.append(id) } else { open.insert(id) }
            }
            guard rows.count == 2000, let last = rows.last?.id else { break }
            // The smallest id above the last one.
            position = last + "0"
            try await show(ended)
            ended = []
        }
        start = next
        seen = fresh
        try await show(ended)
        try await showClosed()
    }

    /// Shows the events of calls that have ended since the last poll.
    private func showClosed() async throws {
        if open.count > Self.openLimit {
            open = Set(open.sorted().suffix(Self.openLimit))
        }
        for batch in batches(of: open.sorted()) {
            let rows = try await store.events(ids: batch)
            let closed = rows.filter { $0.end != nil }
            // Rows that are missing were removed.
            let left = Set(rows.map(\.id)).subtracting(closed.map(\.id))
            open.subtract(Set(batch).subtracting(left))
            try await print(closed)
        }
    }

    private func show(_ ids: [String]) async throws {
        for batch in batches(of: ids) { try await print(try await store.events(ids: batch)) }
    }

    private func batches(of ids: [String]) -> [[String]] {
        stride(from: 0, to: ids.count, by: Self.batch).map {
            Array(ids[$0..<min($0 + Self.batch, ids.count)])
        }
    }

    private func print(_ events: [EventRecord]) async throws {
        let events = events.filter { filter.matches($0) }
        let format = command.format ?? (context.showsJSON ? .jsonl : nil)
        if let format {
            for event in events { context.console.print(command.line(event, format)) }
            return
        }
        if names.count > 10_000 { names.removeAll() }
        let unknown = Set(events.compactMap { $0.userID.map { User.ID($0) } })
            .filter { names[$0] == nil }
        names.merge(try await store.usernames(Array(unknown))) { $1 }
        for event in events {
            let texts = Events.row(event, names).map { TerminalText.line($0) }
            context.console.print(texts.filter { !$0.isEmpty }.joined(separator: "  "))
        }
    }
}

extension EventScan.Filter {
    /// Whether an event matches, by the rules of the store's query.
    func matches(_ event: EventRecord) -> Bool {
        if let user, event.userID != user.text { return false }
        if let kind, event.kind != kind { return false }
        if let pathPrefix, !event.path.beginsWithBytes(of: pathPrefix) { return false }
        guard let statuses else { return true }
        return event.status.map { statuses.contains(Int(clamping: $0)) } ?? false
    }
}
