internal import ArgumentParser
internal import EventLoop
internal import Formats
internal import ProxyGPT

/// `events`: the audit log.
struct Events: AdminCommand {
    static let configuration = CommandConfiguration(
        abstract: "Shows what was recorded: the newest events, or with --format all of them.",
        discussion: """
            Times are 2026-01-31, 2026-01-31T23:59:59Z or how long ago: 90s, 30m, 2h, 7d. They are \
            those at which the calls began. With --format or a filter all events of that time are \
            read, in small parts.
            """)

    /// How exported events are written.
    enum Format: String, ExpressibleByArgument, CaseIterable {
        case jsonl, csv
    }

    @Option(help: "Only those of this user.") var user: String?
    @Option(help: "Only those of this type, such as request, forward, reply, login_failure, admin.")
    var type: String?
    @Option(help: "Only those whose path begins so.") var path: String?
    @Option(help: "Only those with this status, 404, or such a one, 5xx.")
    var status: StatusArgument?
    @Option(help: "Only those from this time on.") var since: TimeArgument?
    @Option(help: "Only those before this time.") var until: TimeArgument?
    @Option(help: "How many of the newest, 1 to 10000.") var limit = CountArgument(100)
    @Option(help: "Export all of them: jsonl or csv.") var format: Format?
    @Flag(help: "Show new events as they come, until interrupted.") var follow = false
    @OptionGroup var output: OutputOptions

    func validate() throws {
        try limit.check()
        guard !follow || until == nil else {
            throw ValidationError("What is followed has no end: leave out --until.")
        }
    }

    @EventLoop func run(_ desk: Desk) async throws -> Int32 {
        let store = try await desk.open()
        var filter = EventScan.Filter()
        if let user { filter.user = try await desk.userID(user) }
        filter.kind = type
        filter.pathPrefix = path
        filter.statuses = status?.range
        let scan = EventScan(
            filter, since: since?.timestamp(now: desk.now), until: until?.timestamp(now: desk.now),
            newestFirst: format == nil)
        guard follow || format != nil else {
            try await showNewest(store, scan, desk)
            // Afterwards, or it might show itself.
            await desk.note("events", user: filter.user)
            return 0
        }
        // Made first, so that it shows the trace that it leaves: its reader knows then that it follows.
        let follower =
            follow ? EventFollower(store, scan, since: since != nil, self, desk) : nil
        await desk.note("events", user: filter.user, format.map { "export as \($0)" } ?? "")
        if let follower {
            try await follower.run()
        } else if let format {
            try await export(store, scan, format, desk)
        }
        return 0
    }

    /// Part after part, however many there are.
    @EventLoop private func export(
        _ store: any AdminStore, _ scan: EventScan, _ format: Format, _ desk: Desk
    ) async throws {
        if format == .csv { desk.console.print(CSV.line(EventRecord.fields)) }
        var rest: EventScan? = scan
        while let scan = rest {
            let page = try await store.events(scan)
            for event in page.events { desk.console.print(line(event, format)) }
            desk.console.flush()
            rest = page.rest
        }
    }

    @EventLoop private func showNewest(
        _ store: any AdminStore, _ scan: EventScan, _ desk: Desk
    ) async throws {
        var events: [EventRecord] = []
        var rest: EventScan? = scan
        while let scan = rest, events.count < limit.value {
            let page = try await store.events(scan)
            events += page.events
            rest = page.rest
        }
        events = events.prefix(limit.value).reversed()
        let names = try await store.usernames(
            Array(Set(events.compactMap { $0.userID.map { User.ID($0) } })))
        var table = Table(
            "TIME", "TYPE", "USER", "METHOD", "PATH", ">STATUS", ">MS", "MODEL", ">TOKENS", "END")
        for event in events { table.add(Self.row(event, names)) }
        desk.show(
            ["events": .list(events.map(\.json))],
            table.isEmpty ? ["There are no such events."] : table.lines)
    }

    func line(_ event: EventRecord, _ format: Format) -> String {
        switch format {
        case .jsonl: TerminalText.json(event.json.encoded)
        case .csv: CSV.line(event.texts)
        }
    }

    /// What a person wants to see of an event.
    static func row(_ event: EventRecord, _ names: [User.ID: String]) -> [String] {
        let user = event.userID.map { names[User.ID($0)] ?? $0 } ?? event.clientAddress
        let tokens = (event.promptTokens ?? 0) &+ (event.completionTokens ?? 0)
        return [
            event.timestamp.short, event.kind, user, event.method, event.path,
            event.status.map { String($0) } ?? "",
            event.durationMicroseconds.map { String(($0 + 500) / 1000) } ?? "",
            event.model ?? "", tokens == 0 ? "" : String(tokens),
            [event.end, event.detail].compactMap(\.self).joined(separator: ", "),
        ]
    }
}
