internal import SQLStorage
internal import Testing

@testable internal import Admin

@Suite struct GrowthFindingTests {
    private static let gigabyte: Int64 = 1_000_000_000

    /// So many tenths of a gigabyte a day, of things that are kept so many days already.
    private func finding(
        events: Double, bodies: Double, messages: Double, age: Double = 0, rowDays: Int64 = 400,
        free: Int64?
    ) -> Finding {
        var growth = StorageGrowth()
        growth.events = .init(rows: 1, bytes: events * 1e8, age: age)
        growth.bodies = .init(rows: 1, bytes: bodies * 1e8, age: age)
        growth.messages = .init(rows: 1, bytes: messages * 1e8)
        return GrowthFinding(growth: growth, bodyDays: 30, rowDays: rowDays).finding(
            free: free.map { $0 * Self.gigabyte })
    }

    @Test func `it says what a day takes, and how much of it stays`() {
        let text = finding(events: 5, bodies: 20, messages: 1, free: 1000).text
        #expect(
            text.hasPrefix(
                "2.60 GB a day at the rate of the last 24 hours: events 0.50, bodies 2.00, "
                    + "messages 0.10; events and bodies come to 260 GB with EVENT_ROW_DAYS=400 and "
                    + "EVENT_DAYS=30; "))
        let forEver = finding(events: 5, bodies: 0, messages: 0, rowDays: 0, free: 1).text
        #expect(!forEver.contains("come to"))
        let little = finding(events: 0.01, bodies: 0, messages: 0, free: 9).text
        #expect(little.contains("less than 0.01"))
    }

    private static let cases: [(free: Int64, age: Double, days: Int)] = [
        // Bodies end to grow after 30 days: 78 GB, then 0.6 GB a day.
        (84, 0, 40), (26, 0, 10),
        // After 400 days of events 0.1 GB a day are left.
        (78 + 222 + 10, 0, 500),
        // What is as old as it may get grows no more.
        (2, 400, 20),
    ]

    @Test(arguments: cases)
    func `a disk is full when what stays has filled it`(free: Int64, age: Double, days: Int) {
        let found = finding(events: 5, bodies: 20, messages: 1, age: age, free: free)
        #expect(found.text.hasSuffix("; the disk is full in \(days) days"), "\(found.text)")
        #expect(found.result == (days < 30 ? .warning : .ok))
    }

    @Test func `what ends to grow fills no disk`() {
        let found = finding(events: 5, bodies: 20, messages: 0, free: 1000)
        #expect(found == Finding("growth", .ok, found.text))
        #expect(found.text.hasSuffix("the disk suffices for ten years"))
    }

    @Test func `of a server's disk it says what a year takes`() {
        let found = finding(events: 5, bodies: 20, messages: 1, free: nil)
        #expect(found.text.hasSuffix("in a year 279 GB more on the server's disk"))
    }
}
