internal import ArgumentParser
internal import EventLoop
internal import Formats
internal import ProxyGPT

/// `usage`: who has used which model how much.
struct ShowUsage: AdminCommand {
    static let configuration = CommandConfiguration(
        commandName: "usage",
        abstract: "Counts calls and tokens by user, model and day (UTC).",
        discussion: """
            Counts calls below /v1/ and replies to prompts, with the tokens that the upstream said \
            they took. Times are 2026-01-31, 2026-01-31T23:59:59Z or how long ago: 2h, 7d. Whole \
            days of the past are kept as sums, which outlive the events: all events are read of the \
            last two days alone, and of a day that --since or --until divides; where its events are \
            gone that day is counted whole.
            """)

    /// What counts are kept apart by.
    enum Dimension: String, ExpressibleByArgument, CaseIterable {
        case user, model, day
    }

    @Option(help: "Only those of this user.") var user: String?
    @Option(help: "From this time on.") var since: TimeArgument = .secondsAgo(30 * 86_400)
    @Option(help: "Before this time.") var until: TimeArgument?
    @Option(
        parsing: .upToNextOption, help: "What is counted apart: user, model, day (default: all).")
    var by: [Dimension] = Dimension.allCases
    @OptionGroup var output: OutputOptions

    /// More lines than this help nobody, and models are named by users.
    private static let groupLimit = 100_000

    @EventLoop func run(_ desk: Desk) async throws -> Int32 {
        let store = try await desk.open()
        var owner: User.ID?
        if let user { owner = try await desk.userID(user) }
        let span = (since.timestamp(now: desk.now), until?.timestamp(now: desk.now))
        let counts = try await store.usage(
            of: owner, since: span.0, until: span.1, keys: Self.groupLimit, by: reduced)
        guard let counts else {
            throw CommandError("there are too many lines: ask for less time, or --by less")
        }
        await desk.note("usage", user: owner)
        let ids = Set(counts.keys.compactMap { $0.userID.map { User.ID($0) } })
        let names = try await store.usernames(Array(ids))
        let sorted = counts.sorted { left, right in
            let (one, other) = (left.key, right.key)
            return (one.day ?? 0, one.userID ?? "", one.model ?? "")
                < (other.day ?? 0, other.userID ?? "", other.model ?? "")
        }
        desk.show(
            ["usage": .list(sorted.map { json($0.key, $0.value, names) })],
            lines(sorted.map { ($0.key, $0.value) }, names))
        return 0
    }

    /// The key without what is not counted apart.
    @Sendable func reduced(_ key: UsageKey) -> UsageKey {
        UsageKey(
            userID: by.contains(.user) ? key.userID : nil,
            model: by.contains(.model) ? key.model : nil, day: by.contains(.day) ? key.day : nil)
    }

    private func json(
        _ key: UsageKey, _ count: UsageCount, _ names: [User.ID: String]
    ) -> JSONValue {
        var members: [(name: String, value: JSONValue)] = []
        if by.contains(.day) { members.append(("day", .text(key.day.map(Self.date)))) }
        if by.contains(.user) {
            members.append(("user_id", .text(key.userID)))
            members.append(("username", .text(key.userID.flatMap { names[User.ID($0)] })))
        }
        if by.contains(.model) { members.append(("model", .text(key.model))) }
        members.append(("calls", .integer(count.calls)))
        members.append(("prompt_tokens", .integer(count.promptTokens)))
        members.append(("completion_tokens", .integer(count.completionTokens)))
        return .object(members)
    }

    private func lines(
        _ counts: [(UsageKey, UsageCount)], _ names: [User.ID: String]
    ) -> [String] {
        if counts.isEmpty { return ["Nothing was used."] }
        var table = Table(
            "DAY", "USER", "MODEL", ">CALLS", ">PROMPT TOKENS", ">COMPLETION TOKENS")
        var sum = UsageCount()
        for (key, count) in counts {
            sum += count
            let user = key.userID.map { names[User.ID($0)] ?? $0 } ?? ""
            table.add(
                [key.day.map(Self.date) ?? "", user, key.model ?? ""] + Self.numbers(count))
        }
        if counts.count > 1 { table.add(["in all", "", ""] + Self.numbers(sum)) }
        return table.lines
    }

    private static func numbers(_ count: UsageCount) -> [String] {
        [String(count.calls), String(count.promptTokens), String(count.completionTokens)]
    }

    private static func date(_ day: Int64) -> String {
        String(Timestamp(milliseconds: day &* Timestamp.dayLength).description.prefix(10))
    }
}
