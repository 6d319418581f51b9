internal import ProxyGPT
internal import TestSupport
internal import Testing

@testable internal import SQLStorage

/// Usage as the operator asks for it, while events are folded and removed.
@Suite struct UsageTests {
    private static let day: Int64 = 86_400

    /// Adds calls of three users over four days: two of every hour, at its beginning and its half.
    private func fill(_ storage: SQLStorage, days: Int64 = 4) async throws {
        for half in 0..<days * 48 {
            let time = start.adding(seconds: half * 1800)
            var event = Event(
                id: Event.ID(
                    UUIDText.version7(milliseconds: time.milliseconds, counter: 0, random: 7)),
                timestamp: time, kind: half % 5 == 4 ? .request : .forward)
            event.userID = half % 7 == 6 ? nil : User.ID("user\(half % 3)")
            event.model = ["m", "", nil, "a\u{0}b"][Int(half % 4)]
            event.promptTokens = half % 6 == 5 ? nil : half
            event.completionTokens = half % 2 == 0 ? 3_000_000_000 : nil
            event.end = .done
            try await storage.events.close(event)
        }
        // Without a row of the day before the clock would seem to have jumped.
        let recent = now.adding(seconds: -7200)
        let id = UUIDText.version7(milliseconds: recent.milliseconds, counter: 0, random: 8)
        try await storage.events.close(
            closed(Event(id: Event.ID(id), timestamp: recent, kind: .request)))
    }

    /// The first day with events, four whole days before the present one.
    private var start: Timestamp {
        Timestamp(milliseconds: (now.day - 6) * Timestamp.dayLength)
    }

    private func usage(
        _ storage: SQLStorage, of user: String? = nil, since: Int64? = nil, until: Int64? = nil
    ) async throws -> [UsageKey: UsageCount] {
        let counts = try await storage.store.usage(
            of: user.map { User.ID($0) }, since: since.map { start.adding(seconds: $0) },
            until: until.map { start.adding(seconds: $0) }, keys: 1000
        ) { key in
            // As PostgreSQL keeps it, and sums of whole days everywhere.
            var key = key
            key.model = key.model.map(PostgresParameters.cleaned)
            return key
        }
        return try #require(counts)
    }

    /// Spans in seconds from the start on: whole days, parts of one, and all between.
    private static let spans: [(since: Int64?, until: Int64?)] = [
        (nil, nil), (0, day), (day, 3 * day), (3600, nil), (day + 1, 2 * day - 1),
        (day / 2, 2 * day + 3600), (nil, day + 1800), (2 * day, 2 * day + 1), (-day, 9 * day),
        (3 * day, 2 * day), (3 * day + 1801, nil), (0, 1), (day - 1, day + 1),
    ]

    private func all(
        _ storage: SQLStorage, whole: Bool = false
    ) async throws -> [[UsageKey: UsageCount]] {
        var found: [[UsageKey: UsageCount]] = []
        for span in Self.spans
        where !whole || [span.since, span.until].allSatisfy({ ($0 ?? 0) % Self.day == 0 }) {
            for user in [nil, "user1"] {
                found.append(
                    try await usage(storage, of: user, since: span.since, until: span.until))
            }
        }
        return found
    }

    @Test(arguments: Engine.allCases)
    func `figures are the same before and after days are folded and their events removed`(
        on engine: Engine
    ) async throws {
        let place = try await Place(engine)
        try await place.with { storage in
            // As a new installation does, before anything is brought there.
            while try await !storage.lease.expire() {}
            try await fill(storage)
            let (before, whole) = (try await all(storage), try await all(storage, whole: true))
            #expect(before[0].values.reduce(0) { $0 + $1.calls } == 192 - 6)
            while try await !storage.lease.expire() {}
            #expect(try await storage.store.usageProgress().day == start.day + 4)
            #expect(try await storage.number("SELECT COUNT(*) AS number FROM usage_days") > 0)
            #expect(try await all(storage) == before)
            // Of the second day's middle on the events stay.
            let end = EventScan.bound(start.adding(seconds: Self.day * 3 / 2))
            var rest: String? = ""
            while let from = rest {
                rest = try await storage.store.removeEvents(from: from, before: end, limit: 50).rest
            }
            #expect(try await storage.number("SELECT COUNT(*) AS number FROM events") == 121)
            #expect(try await all(storage, whole: true) == whole)
            // Days that are divided where the events are, and whole where they are gone.
            let late = Self.day * 3 / 2
            #expect(try await usage(storage, since: late, until: late + 3600).values.count == 2)
            let gone = try await usage(storage, since: 3600, until: 7200)
            #expect(gone == whole[2])
        }
    }

    @Test(arguments: Engine.allCases)
    func `no event of a day that is not folded is removed`(on engine: Engine) async throws {
        let place = try await Place(engine)
        try await place.with { storage in
            try await fill(storage, days: 1)
            let removal = try await storage.store.removeEvents(
                from: "", before: EventScan.last, limit: 500)
            #expect(removal == EventRemoval(count: 0, rest: nil))
            while try await !storage.lease.expire() {}
            let after = try await storage.store.removeEvents(
                from: "", before: EventScan.last, limit: 500)
            #expect(after.count == 48)
        }
    }

    @Test(arguments: Engine.allCases)
    func `processes that fold at once count each event once`(on engine: Engine) async throws {
        let place = try await Place(engine)
        let storages = [try await place.open(), try await place.open(), try await place.open()]
        try await fill(storages[0], days: 2)
        let before = try await usage(storages[0])
        let results = await concurrently(3) { index in
            // As the command does, which ends when all is done.
            while try await !storages[index].lease.expire() {}
            return try await usage(storages[index])
        }
        for result in results { #expect(try result.get() == before) }
        #expect(
            try await storages[0].number("SELECT SUM(calls) AS number FROM usage_days")
                == before.values.reduce(0) { $0 + $1.calls })
        for storage in storages { await storage.close() }
    }

    @Test(arguments: Engine.allCases)
    func `a step whose mark has moved adds nothing`(on engine: Engine) async throws {
        let place = try await Place(engine)
        try await place.with { storage in
            try await fill(storage, days: 1)
            let database = Interrupted(storage.database) {
                try await storage.write("UPDATE usage_progress SET folded = 'c'")
            }
            #expect(try await database.foldUsage(at: now) == .overtaken)
            #expect(try await storage.number("SELECT COUNT(*) AS number FROM usage_days") == 0)
        }
    }

    @Test(arguments: Engine.allCases)
    func `a call that is under way holds up the folding, a stream does not`(
        on engine: Engine
    ) async throws {
        let place = try await Place(engine)
        try await place.with { storage in
            try await fill(storage)
            func open(_ kind: Event.Kind, after seconds: Int64) async throws -> Event {
                let time = start.adding(seconds: seconds)
                let id = UUIDText.version7(
                    milliseconds: time.milliseconds, counter: 0, random: 9)
                var event = Event(id: Event.ID(id), timestamp: time, kind: kind)
                storage.events.open(event)
                try await storage.events.opened(event.id)
                event.promptTokens = 5
                event.end = .done
                return event
            }
            _ = try await open(.stream, after: 60)
            let call = try await open(.request, after: Self.day + 60)
            while try await !storage.lease.expire() {}
            let progress = try await storage.store.usageProgress()
            #expect(progress.folded == call.id.text)
            #expect(progress.day == start.day + 1)
            try await storage.events.close(call)
            let calls = try await usage(storage).values.reduce(0) { $0 + $1.calls }
            #expect(calls == 192 - 6 + 1)
            while try await !storage.lease.expire() {}
            #expect(try await storage.store.usageProgress().day == start.day + 4)
            #expect(try await usage(storage).values.reduce(0) { $0 + $1.calls } == calls)
        }
    }

    @Test(arguments: Engine.allCases)
    func `a sum that an operator has written does not end the folding`(on engine: Engine)
        async throws
    {
        let place = try await Place(engine)
        try await place.with { storage in
            try await fill(storage, days: 1)
            try await storage.write(
                """
                INSERT INTO usage_days VALUES (\(start.day), 'user0', 'm', 1,
                    9223372036854775807, 9223372036854775807, -9223372036854775807)
                """)
            while try await !storage.lease.expire() {}
            #expect(try await usage(storage).count > 2)
        }
    }

    @Test(arguments: Engine.allCases)
    func `a user that invents a model for each call does not make the sums grow as events do`(
        on engine: Engine
    ) async throws {
        let place = try await Place(engine)
        try await place.with { storage in
            for number in 0..<1500 {
                let time = start.adding(seconds: Int64(number))
                let id = UUIDText.version7(
                    milliseconds: time.milliseconds, counter: 0, random: 7)
                var event = Event(id: Event.ID(id), timestamp: time, kind: .forward)
                event.userID = User.ID(number % 100 == 0 ? "other" : "user")
                event.model = number % 100 == 0 ? "m" : "made up \(number)"
                event.end = .done
                storage.events.record(event)
            }
            // Rows that nobody waits for come some time later.
            try await eventually {
                try await storage.number("SELECT COUNT(*) AS number FROM events") == 1500
            }
            try await fill(storage, days: 0)
            while try await !storage.lease.expire() {}
            let rows = try await storage.number("SELECT COUNT(*) AS number FROM usage_days")
            #expect((500...1002).contains(rows))
            let counts = try await usage(storage)
            #expect(counts.values.reduce(0) { $0 + $1.calls } == 1500)
            let key = UsageKey(userID: "other", model: "m", day: start.day)
            #expect(counts[key]?.calls == 15)
        }
    }

    @Test func `a day is that of the id, whatever form it has`() {
        for day: Int64 in [0, 1, 20_000, 3_257_812] {
            let id = EventScan.bound(day: day)
            #expect(EventScan.day(of: id) == day)
            #expect(EventScan.day(of: id + "0") == day)
        }
        let last = UUIDText.version7(
            milliseconds: 5 * Timestamp.dayLength - 1, counter: 4095, random: .max)
        #expect(EventScan.day(of: last) == 4)
        for id in ["", "a", "é\u{301}", String(repeating: "f", count: 100)] {
            #expect((0...3_257_812).contains(EventScan.day(of: id)))
        }
    }
}

/// A database in which another client acts before a transaction.
private struct Interrupted: Database {
    let database: any Database
    let interruption: @Sendable () async throws -> Void

    init(_ database: any Database, _ interruption: @escaping @Sendable () async throws -> Void) {
        self.database = database
        self.interruption = interruption
    }

    var dialect: Dialect { database.dialect }

    func query(_ sql: SQL) async throws -> [Row] { try await database.query(sql) }

    func transaction<T: Sendable>(
        _ body: @Sendable @escaping (any Transaction) async throws -> T
    ) async throws -> T {
        try await interruption()
        return try await database.transaction(body)
    }
}
