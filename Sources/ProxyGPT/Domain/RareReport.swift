/// Counts events of one kind for a log line that is written once a second at most.
package struct RareReport: Sendable {
    private var unreported = 0
    private var lastReport: Int64?

    package init() {}

    /// Adds to the count; returns the count since the last report when the next report is due.
    /// - Parameter now: milliseconds of a monotonic clock.
    package mutating func add(_ count: Int = 1, now: Int64) -> Int? {
        unreported += count
        if unreported == 0 || lastReport.map({ now &- $0 < 1000 }) ?? false { return nil }
        lastReport = now
        defer { unreported = 0 }
        return unreported
    }
}
