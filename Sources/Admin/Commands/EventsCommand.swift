internal import ArgumentParser
internal import EventLoop
internal import Formats
internal import ProxyGPT

/// `events`: the audit log.
struct Events: AdminCommand {
    static let configuration = CommandConfiguration(
        abstract: "Shows recorded events: the newest ones, or with --format all of them.",
        discussion: """
            Times are 2026-01-31, 2026-01-31T23:59:59Z or how long ago: 90s, 30m, 2h, 7d. An event's \
            time is when its call began. With --format or a filter all events of that time are read, \
            in small batches.
            """)

    /// The format of exported events.
    enum Format: String, ExpressibleByArgument, CaseIterable {
        case jsonl, csv
    }

    @Option(help: "Only events of this user.") var user: String?
    @Option(help: "Only events of this type: request, forward, reply, login_failure, admin …")
    var type: String?
    @Option(help: "Only events whose path begins with this.") var path: String?
    @Option(help: "Only events with this status: 404, or 5xx for all that begin with a 5.")
    var status: StatusArgument?
    @Option(help: "Only events from this time on.") var since: TimeArgument?
    @Option(help: "Only events before this time.") var until: TimeArgument?
    @Option(help: "The number of events, 1 to 10000.") var limit = LimitArgument(100)
    @Option(help: "Export all events: jsonl or csv.") var format: Format?
    @Flag(help: "Show new events at once, until interrupted.") var follow = false
    @OptionGroup var output: OutputOptions

    func validate() throws {
        try limit.check()
        guard !follow || until == nil else {
            throw ValidationError("--follow has no end: leave out --until.")
        }
    }

    @EventLoop func run(_ context: CommandContext) async throws -> Int32 {
        let store = try await context.open()
        var filter = EventScan.Filter()
        if let user { filter.user = try await context.userID(user) }
        filter.kind = type
        filter.pathPrefix = path
        filter.statuses = status?.range
        let scan = EventScan(
            filter, since: since?.timestamp(now: context.now),
            until: until?.timestamp(now: context.now),
            newestFirst: format == nil)
        guard follow || format != nil else {
            try await showNewest(store, scan, context)
            // Recorded afterwards, or the output might have this very command.
            await context.note("events", user: filter.user)
            return 0
        }
        // Made before the event of this command, so that it shows that event first.
        let follower =
            follow ? EventFollower(store, scan, since: since != nil, self, context) : nil
        await context.note("events", user: filter.user, format.map { "export as \($0)" } ?? "")
        if let follower {
            try await follower.run()
        } else if let format {
            try await export(store, scan, format, context)
        }
        return 0
    }

    /// Writes all events of the scan, batch by batch.
    @EventLoop private func export(
        _ store: any AdminStore, _ scan: EventScan, _ format: Format, _ context: CommandContext
    ) async throws {
        if format == .csv { context.console.print(CSV.line(EventRecord.fields)) }
        var rest: EventScan? = scan
        while let scan = rest {
            let page = try await store.events(scan)
            for event in page.events { context.console.print(line(event, format)) }
            context.console.flush()
            rest = page.rest
        }
    }

    @EventLoop private func showNewest(
        _ store: any AdminStore, _ scan: EventScan, _ context: CommandContext
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
        context.show(
            ["events": .list(events.map(\.json))],
            table.isEmpty ? ["There are no such events."] : table.lines)
    }

    func line(_ event: EventRecord, _ format: Format) -> String {
        switch format {
        case .jsonl: TerminalText.json(event.json.encoded)
        case .csv: CSV.line(event.texts)
        }
    }

    /// The columns of an event in a table.
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
