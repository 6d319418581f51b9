internal import ArgumentParser
internal import EventLoop
internal import Formats
internal import ProxyGPT

/// `usage`: calls and tokens by user, model and day.
struct ShowUsage: AdminCommand {
    static let configuration = CommandConfiguration(
        commandName: "usage",
        abstract: "Counts calls and tokens by user, model and day (UTC).",
        discussion: """
            Counts calls below /v1/ and replies to prompts, with the tokens that the upstream reported. \
            Times are 2026-01-31, 2026-01-31T23:59:59Z or how long ago: 2h, 7d. Whole days of the past are \
            kept as sums, which outlive the events. Events are read only of the last two days and of a day \
            that --since or --until divides; where such a day's events are removed, the whole day is \
            counted.
            """)

    /// A dimension by which counts are grouped.
    enum Dimension: String, ExpressibleByArgument, CaseIterable {
        case user, model, day
    }

    @Option(help: "Only usage of this user.") var user: String?
    @Option(help: "From this time on.") var since: TimeArgument = .secondsAgo(30 * 86_400)
    @Option(help: "Before this time.") var until: TimeArgument?
    @Option(
        parsing: .upToNextOption,
        help: "The dimensions to group by: user, model, day (default: all).")
    var by: [Dimension] = Dimension.allCases
    @OptionGroup var output: OutputOptions

    /// The most lines. Users name models, so that there may be any number.
    private static let groupLimit = 100_000

    @EventLoop func run(_ context: CommandContext) async throws -> Int32 {
        let store = try await context.open()
        var owner: User.ID?
        if let user { owner = try await context.userID(user) }
        let span = (since.timestamp(now: context.now), until?.timestamp(now: context.now))
        let counts = try await store.usage(
            of: owner, since: span.0, until: span.1, keys: Self.groupLimit, by: reduced)
        guard let counts else {
            throw CommandError("there are too many lines: ask for less time, or --by less")
        }
        await context.note("usage", user: owner)
        let ids = Set(counts.keys.compactMap { $0.userID.map { User.ID($0) } })
        let names = try await store.usernames(Array(ids))
        let sorted = counts.sorted { left, right in
            let (one, other) = (left.key, right.key)
            return (one.day ?? 0, one.userID ?? "", one.model ?? "")
                < (other.day ?? 0, other.userID ?? "", other.model ?? "")
        }
        context.show(
            ["usage": .list(sorted.map { json($0.key, $0.value, names) })],
            lines(sorted.map { ($0.key, $0.value) }, names))
        return 0
    }

    /// The key without the dimensions that are not grouped by.
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
