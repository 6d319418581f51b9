/// A scan of the events, batch by batch, so that no read of the database takes long. Ids sort by
/// the times at which calls began.
package struct EventScan: Sendable, Equatable {
    /// The filter of events; nil matches all.
    package struct Filter: Sendable, Equatable {
        package var user: User.ID?
        package var kind: String?
        package var pathPrefix: String?
        package var statuses: ClosedRange<Int>?

        package init() {}
    }

    package var filter: Filter
    /// The first id of the scan.
    package var start: String
    /// The first id behind the scan.
    package var end: String
    package var newestFirst: Bool
    /// The number of rows that one batch reads.
    package var size: Int

    /// Bounds below and above all ids.
    package static let first = ""
    package static let last = "g"

    package init(
        _ filter: Filter = Filter(), since: Timestamp? = nil, until: Timestamp? = nil,
        newestFirst: Bool = false, size: Int = 2000
    ) {
        self.filter = filter
        start = since.map(Self.bound) ?? Self.first
        end = until.map(Self.bound) ?? Self.last
        self.newestFirst = newestFirst
        self.size = size
    }

    /// The least id that an event of this moment can have.
    package static func bound(_ time: Timestamp) -> String {
        guard time.milliseconds > 0 else { return first }
        return UUIDText.version7(milliseconds: time.milliseconds, counter: 0, random: 0)
    }

    /// The least id that an event of this day, counted from 1970 in UTC, can have.
    package static func bound(day: Int64) -> String {
        bound(Timestamp(milliseconds: day &* Timestamp.dayLength))
    }

    /// The day of an id of any form.
    package static func day(of id: String) -> Int64 {
        time(of: id).day
    }

    /// The moment of an id of any form.
    package static func time(of id: String) -> Timestamp {
        // An id holds 48 bits of milliseconds.
        var (moment, end) = (Int64(0), Int64(1) << 48)
        while end - moment > 1 {
            let middle = (moment + end) / 2
            if precedes(id, bound(Timestamp(milliseconds: middle))) {
                end = middle
            } else {
                moment = middle
            }
        }
        return Timestamp(milliseconds: moment)
    }

    /// Whether an id sorts before another one in the databases' order.
    package static func precedes(_ id: String, _ other: String) -> Bool {
        id.utf8.lexicographicallyPrecedes(other.utf8)
    }
}

/// A batch of events.
package struct EventPage: Sendable {
    package let events: [EventRecord]
    /// The scan of the rest; nil at the end.
    package let rest: EventScan?

    package init(events: [EventRecord], rest: EventScan?) {
        self.events = events
        self.rest = rest
    }
}
