// Counts usage from events, and folds whole days of the past into rows of their own.
//
// A step reads some events, adds their sums to `usage_days` and moves the mark on, the last two in
// one transaction, which succeeds only where the mark is at its earlier position: so each event
// counts once, even if several processes fold at once. Only events behind the mark are removed.

internal import EventLoop
package import ProxyGPT

/// The result of one step of folding.
enum UsageFold: Sendable {
    /// All that may be folded is.
    case done
    case progress
    /// Another process was faster.
    case overtaken
}

extension Database {
    /// Rows of one part: reads of a serving process stay short.
    private static var partSize: Int { 250 }
    /// Parts and keys of one transaction, about.
    private static var mostParts: Int { 16 }
    private static var mostKeys: Int { 200 }
    /// A day is folded when a whole further day has passed: clocks may be hours wrong for a while.
    private static var delay: Int64 { Timestamp.dayLength }
    /// The number of models of one user and day that are kept apart, about, and the number up to
    /// which they are not counted: callers name models as they like, and the sums are kept for
    /// ever.
    private static var mostModels: Int { 1000 }
    private static var fewModels: Int { 20 }
    /// The name under which all further models are summed.
    static var otherModels: String { "(others)" }
    /// How long a call that is under way holds up the folding, in days.
    private static var openCallLimit: Int64 { 7 }

    func usageProgress() async throws -> UsageProgress {
        let rows = try await query("SELECT folded, removed FROM usage_progress")
        guard let row = rows.first else { return UsageProgress() }
        return UsageProgress(folded: try row.text("folded"), removed: try row.text("removed"))
    }

    /// Folds some events of whole days that have passed by `now`.
    func foldUsage(at now: Timestamp) async throws -> UsageFold {
        let progress = try await usageProgress()
        let today = Timestamp(milliseconds: now.milliseconds &- Self.delay).day
        var scan = EventScan(size: Self.partSize)
        scan.start = progress.folded
        scan.end = EventScan.bound(day: today)
        guard EventScan.precedes(scan.start, scan.end) else { return .done }
        var counts: [UsageKey: UsageCount] = [:]
        var folded = scan.start
        for _ in 0..<Self.mostParts where counts.count < Self.mostKeys {
            let (counted, end) = try await foldablePart(of: scan, today: today)
            for (key, count) in counted { counts[key, default: UsageCount()] += count }
            folded = end
            guard EventScan.precedes(scan.start, end), EventScan.precedes(end, scan.end) else {
                break
            }
            scan.start = end
        }
        guard EventScan.precedes(progress.folded, folded) else { return .done }
        return try await add(
            try await gatheringModels(of: counts), from: progress, to: folded)
    }

    /// Takes the models of a user that has named too many on a day for one.
    private func gatheringModels(
        of counts: [UsageKey: UsageCount]
    ) async throws -> [UsageKey: UsageCount] {
        let users = Dictionary(grouping: counts.keys) { key in
            UsageKey(userID: key.userID, model: nil, day: key.day)
        }
        var gathered = counts
        for (user, keys) in users where keys.count > Self.fewModels {
            let known = try await query(
                """
                SELECT COUNT(*) AS number FROM (
                    SELECT 1 AS one FROM usage_days
                    WHERE day = \(user.day ?? 0) AND user_id = \(user.userID ?? "")
                    LIMIT \(Self.mostModels)) AS models
                """
            ).first?.integer("number")
            guard Int(known ?? 0) + keys.count > Self.mostModels else { continue }
            var others = user
            others.model = Self.otherModels
            for key in keys where key.model != nil {
                guard key != others, let count = gathered.removeValue(forKey: key) else { continue }
                gathered[others, default: UsageCount()] += count
            }
        }
        return gathered
    }

    /// The usage of the next part, and where it ends: before a call that is under way.
    private func foldablePart(
        of scan: EventScan, today: Int64
    ) async throws -> (counts: [(key: UsageKey, count: UsageCount)], end: String) {
        // The mark stays where the events end: events that an operator imports later are counted,
        // too.
        guard let (day, part, rest) = try await partOfDay(scan) else { return ([], scan.start) }
        let oldestOpen = EventScan.bound(day: today &- Self.openCallLimit)
        // Before the sums, so that no call ends in between. Written so that no index of open rows is
        // walked, which may be many.
        let open = try await query(
            """
            SELECT id FROM events
            WHERE id >= \(max(part.start, oldestOpen)) AND id < \(part.end)
                AND COALESCE("end", '') = '' AND type <> 'stream'
            ORDER BY id LIMIT 1
            """)
        if let first = try open.first?.text("id") {
            return (try await usage(part.start, first, scan.filter, day), first)
        }
        return (try await usage(part.start, part.end, scan.filter, day), rest)
    }

    private func add(
        _ counts: [UsageKey: UsageCount], from progress: UsageProgress, to folded: String
    ) async throws -> UsageFold {
        try await transaction { transaction in
            let moved = try await transaction.execute(
                """
                UPDATE usage_progress SET folded = \(folded) WHERE folded = \(progress.folded)
                """)
            guard moved > 0 else { return .overtaken }
            for (key, count) in counts { try await transaction.send(Self.addition(key, count)) }
            return .progress
        }
    }

    private static func addition(_ key: UsageKey, _ count: UsageCount) -> SQL {
        let model = key.model.map(PostgresParameters.cleaned)
        // A value that an operator wrote into the table must not end the folding.
        let sums = ["calls", "prompt_tokens", "completion_tokens"].map {
            "\($0) = CASE WHEN usage_days.\($0) < \(Row.integerLimit)"
                + " THEN usage_days.\($0) + excluded.\($0) ELSE usage_days.\($0) END"
        }
        return """
            INSERT INTO usage_days (day, user_id, model, has_model, calls, prompt_tokens,
                completion_tokens)
            VALUES (\(key.day ?? 0), \(key.userID ?? ""), \(model ?? ""), \(model == nil ? 0 : 1),
                \(count.calls), \(count.promptTokens), \(count.completionTokens))
            ON CONFLICT (day, user_id, model, has_model) DO UPDATE SET
                \(unsafe: sums.joined(separator: ", "))
            """
    }

    // MARK: - Counting events

    /// Calls and tokens of the next part of a walk, which are of one day.
    func usage(_ scan: EventScan) async throws -> UsagePage {
        guard let (day, part, next) = try await partOfDay(scan) else {
            return UsagePage(counts: [], rest: nil)
        }
        var rest = scan
        rest.start = next
        return UsagePage(
            counts: try await usage(part.start, part.end, scan.filter, day),
            rest: EventScan.precedes(rest.start, rest.end) ? rest : nil)
    }

    /// The next rows of a walk that are of one day, and where the rest begins; nil where there are none.
    private func partOfDay(
        _ scan: EventScan
    ) async throws -> (day: Int64, part: (start: String, end: String), rest: String)? {
        let first = try await query(
            """
            SELECT id FROM events WHERE id >= \(scan.start) AND id < \(scan.end)
            ORDER BY id LIMIT 1
            """)
        guard let id = try first.first?.text("id") else { return nil }
        let day = EventScan.day(of: id)
        var ofDay = scan
        ofDay.start = id
        ofDay.end = min(scan.end, EventScan.bound(day: day + 1))
        let (part, rest) = try await part(of: ofDay)
        return (day, part, rest?.start ?? ofDay.end)
    }

    /// A use is a call that was passed on, the reply to a prompt, and a request that cost tokens.
    private func usage(
        _ start: String, _ end: String, _ filter: EventScan.Filter, _ day: Int64
    ) async throws -> [(key: UsageKey, count: UsageCount)] {
        let rows = try await query(
            """
            SELECT user_id, model, COUNT(*) AS calls, \(unsafe: Self.sum(of: "prompt_tokens")),
                \(unsafe: Self.sum(of: "completion_tokens"))
            FROM events
            WHERE id >= \(start) AND id < \(end) AND \(filter.condition)
                AND (type IN ('forward', 'reply') OR (type = 'request'
                    AND (prompt_tokens IS NOT NULL OR completion_tokens IS NOT NULL)))
            GROUP BY user_id, model
            """)
        return try rows.map { row in
            (
                key: UsageKey(
                    userID: try row.optionalText("user_id"), model: try row.optionalText("model"),
                    day: day),
                count: try UsageCount(row: row)
            )
        }
    }

    /// Sums a column. SQLite fails where a sum takes more than 64 bits, so no row counts for more than
    /// 2^31 - 1.
    private static func sum(of column: String) -> String {
        """
        SUM(CASE WHEN \(column) > 2147483647 THEN 2147483647
            WHEN \(column) > 0 THEN \(column) ELSE 0 END) AS \(column)
        """
    }

    /// The next part of a walk, as a range of ids, and the walk through the rest.
    func part(
        of scan: EventScan
    ) async throws -> (range: (start: String, end: String), rest: EventScan?) {
        await takeTurn()
        let order: SQL = scan.newestFirst ? "DESC" : "ASC"
        // The first row that is too many; read in the key alone.
        let rows = try await query(
            """
            SELECT id FROM events WHERE id >= \(scan.start) AND id < \(scan.end)
            ORDER BY id \(order) LIMIT 1 OFFSET \(scan.newestFirst ? scan.size - 1 : scan.size)
            """)
        guard let bound = try rows.first?.text("id") else { return ((scan.start, scan.end), nil) }
        var rest = scan
        if scan.newestFirst {
            rest.end = bound
            return ((bound, scan.end), rest)
        }
        rest.start = bound
        return ((scan.start, bound), rest)
    }

    /// Lets the loop end its turn, and with it the snapshot of the reads so far.
    func takeTurn() async {
        await EventLoop.sleep(milliseconds: 0)
    }
}

extension UsageCount {
    fileprivate init(row: Row) throws {
        self.init(
            calls: try row.integer("calls"), promptTokens: try row.integer("prompt_tokens"),
            completionTokens: try row.integer("completion_tokens"))
    }
}

// MARK: - The operator's view

extension SQLStore {
    package func usageProgress() async throws -> UsageProgress {
        try await database.usageProgress()
    }

    package func usage(_ scan: EventScan) async throws -> UsagePage {
        try await database.usage(scan)
    }

    package func usage(
        ofDays days: Range<Int64>, after key: UsageKey?
    ) async throws -> [(key: UsageKey, count: UsageCount)] {
        await database.takeTurn()
        // One bound below, or SQLite would begin every page at the first day.
        let start: SQL =
            key.map {
                """
                (day, user_id, model, has_model) > (\($0.day ?? 0), \($0.userID ?? ""),
                    \($0.model ?? ""), \(Int64($0.model == nil ? 0 : 1)))
                """
            } ?? "day >= \(days.lowerBound)"
        let rows = try await database.query(
            """
            SELECT day, user_id, model, has_model, calls, prompt_tokens, completion_tokens
            FROM usage_days
            WHERE \(start) AND day < \(days.upperBound)
            ORDER BY day, user_id, model, has_model LIMIT 2000
            """)
        return try rows.map { row in
            let user = try row.text("user_id")
            let hasModel = try row.integer("has_model") != 0
            return (
                key: UsageKey(
                    userID: user.isEmpty ? nil : user,
                    model: hasModel ? try row.text("model") : nil, day: try row.integer("day")),
                count: try UsageCount(row: row)
            )
        }
    }
}
