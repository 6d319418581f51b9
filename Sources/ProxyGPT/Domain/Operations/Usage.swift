// Calls of the upstream and their tokens, by user, model and day.
//
// Whole days of the past are folded: their sums are rows of their own and outlive the events. An
// event's id has its day, as for all bounds in time.

/// The key of a count of usage.
package struct UsageKey: Sendable, Hashable {
    package var userID: String?
    package var model: String?
    /// Days since 1970, in UTC.
    package var day: Int64?

    package init(userID: String?, model: String?, day: Int64?) {
        self.userID = userID
        self.model = model
        self.day = day
    }
}

/// Calls of the upstream and the tokens that the upstream reported.
package struct UsageCount: Sendable, Equatable {
    package var calls: Int64
    package var promptTokens: Int64
    package var completionTokens: Int64

    package init(calls: Int64 = 0, promptTokens: Int64 = 0, completionTokens: Int64 = 0) {
        self.calls = calls
        self.promptTokens = promptTokens
        self.completionTokens = completionTokens
    }

    package static func += (left: inout UsageCount, right: UsageCount) {
        left.calls &+= right.calls
        left.promptTokens &+= right.promptTokens
        left.completionTokens &+= right.completionTokens
    }
}

/// The usage of one batch of events.
package struct UsagePage: Sendable {
    package let counts: [(key: UsageKey, count: UsageCount)]
    package let rest: EventScan?

    package init(counts: [(key: UsageKey, count: UsageCount)], rest: EventScan?) {
        self.counts = counts
        self.rest = rest
    }
}

/// The ids up to which events are folded and may have been removed.
package struct UsageProgress: Sendable, Equatable {
    /// All events before this id are folded.
    package let folded: String
    /// Events before this id may have been removed.
    package let removed: String

    package init(folded: String = EventScan.first, removed: String = EventScan.first) {
        self.folded = folded
        self.removed = removed
    }

    /// The first day that is not folded.
    package var day: Int64 { EventScan.day(of: folded) }
}

/// The sources of a time span's usage: folded days, and events for the rest.
package struct UsagePlan: Sendable, Equatable {
    /// The folded days, as numbers from 1970 on.
    package let days: Range<Int64>
    /// Ranges of ids of events.
    package let ranges: [Range<String>]

    /// - Parameters:
    ///   - since: nil from the first event on.
    ///   - until: nil to the newest event.
    package init(since: Timestamp?, until: Timestamp?, _ progress: UsageProgress) {
        let start = since.map(EventScan.bound) ?? EventScan.first
        let end = until.map(EventScan.bound) ?? EventScan.last
        let whole = progress.day
        var ranges: [Range<String>] = []
        // A day that the span divides is counted by its events, while they exist.
        func take(_ from: String, _ to: String) {
            if EventScan.precedes(from, to) { ranges.append(Range(uncheckedBounds: (from, to))) }
        }
        var first = since.map { $0.day } ?? 0
        if first < whole, start != EventScan.bound(day: first),
            !EventScan.precedes(start, progress.removed)
        {
            take(start, min(end, EventScan.bound(day: first + 1)))
            first += 1
        }
        var last = min(until.map { $0.day } ?? whole, whole)
        if let until, last < whole, end != EventScan.bound(day: last) {
            let beginning = EventScan.bound(day: last)
            if EventScan.precedes(beginning, progress.removed) {
                last = until.day + 1
            } else if first <= last {
                take(beginning, end)
            }
        }
        take(max(start, EventScan.bound(day: whole)), end)
        days = first..<max(first, last)
        self.ranges = ranges
    }

    /// Whether the events of all ranges still exist.
    package func isValid(_ progress: UsageProgress) -> Bool {
        ranges.allSatisfy { !EventScan.precedes($0.lowerBound, progress.removed) }
    }
}

extension AdminStore {
    /// The usage of a time span, of one user or of all.
    ///
    /// - Parameters:
    ///   - since: nil from the first event on.
    ///   - until: nil to the newest event.
    ///   - limit: the most keys; nil is returned where there are more.
    ///   - reduced: maps a key to the key that it is counted under.
    package func usage(
        of user: User.ID?, since: Timestamp?, until: Timestamp?, keys limit: Int,
        by reduced: @Sendable (UsageKey) -> UsageKey
    ) async throws -> [UsageKey: UsageCount]? {
        while true {
            let plan = UsagePlan(since: since, until: until, try await usageProgress())
            var counts: [UsageKey: UsageCount] = [:]
            var last: UsageKey?
            repeat {
                let page = try await usage(ofDays: plan.days, after: last)
                for (key, count) in page where user == nil || key.userID == user?.text {
                    counts[reduced(key), default: UsageCount()] += count
                }
                last = page.last?.key
            } while last != nil && counts.count <= limit
            for range in plan.ranges {
                var scan = EventScan()
                scan.filter.user = user
                (scan.start, scan.end) = (range.lowerBound, range.upperBound)
                var rest: EventScan? = scan
                while let scan = rest, counts.count <= limit {
                    let page = try await usage(scan)
                    for (key, count) in page.counts {
                        counts[reduced(key), default: UsageCount()] += count
                    }
                    rest = page.rest
                }
            }
            if counts.count > limit { return nil }
            // Otherwise events were removed meanwhile, and their sums are stored now.
            if plan.isValid(try await usageProgress()) { return counts }
        }
    }
}
