/// A walk through the events, part by part: no read of the database lasts long, however many there
/// are. Ids sort by the time at which their calls began.
package struct EventScan: Sendable, Equatable {
    /// Which events are wanted; nil asks for nothing.
    package struct Filter: Sendable, Equatable {
        package var user: User.ID?
        package var kind: String?
        package var pathPrefix: String?
        package var statuses: ClosedRange<Int>?

        package init() {}
    }

    package var filter: Filter
    /// The first id that belongs to the walk.
    package var start: String
    /// The first id that does not any more.
    package var end: String
    package var newestFirst: Bool
    /// How many rows are looked at in one part.
    package var size: Int

    /// Smaller than all ids, and greater.
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

    /// The day that an id belongs to, of whatever form it is.
    package static func day(of id: String) -> Int64 {
        time(of: id).day
    }

    /// The moment that an id tells of, of whatever form it is.
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

    /// Whether an id stands before another one in the databases' order.
    package static func precedes(_ id: String, _ other: String) -> Bool {
        id.utf8.lexicographicallyPrecedes(other.utf8)
    }
}

/// Part of the events.
package struct EventPage: Sendable {
    package let events: [EventRecord]
    /// The walk through what is left; nil when nothing is.
    package let rest: EventScan?

    package init(events: [EventRecord], rest: EventScan?) {
        self.events = events
        self.rest = rest
    }
}

/// A row of the audit log as it stands, with whatever words it has.
package struct EventRecord: Sendable, Equatable {
    package var id = ""
    package var timestamp = Timestamp(milliseconds: 0)
    package var kind = ""
    package var requestID = ""
    package var clientAddress = ""
    package var method = ""
    package var path = ""
    package var status: Int64?
    package var durationMicroseconds: Int64?
    package var userID: String?
    package var chatID: String?
    package var groupID: String?
    package var model: String?
    package var promptTokens: Int64?
    package var completionTokens: Int64?
    package var upstreamStatus: Int64?
    package var upstreamMicroseconds: Int64?
    package var upstreamRequestID: String?
    package var bytesIn: Int64 = 0
    package var bytesOut: Int64 = 0
    package var end: String?
    package var detail: String?

    package init() {}
}
