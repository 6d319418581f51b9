internal import ProxyGPT
internal import TestSupport
internal import Testing

@testable internal import SQLStorage

@Suite struct EventScanTests {
    /// Adds events a second apart, every third of them refused, of two users.
    private func fill(_ storage: SQLStorage, _ count: Int) async throws {
        for index in 0..<count {
            let time = now.adding(seconds: Int64(index))
            var event = Event(
                id: Event.ID(EventScan.bound(time)), timestamp: time,
                kind: index % 2 == 0 ? .forward : .request, requestID: "request",
                method: "GET", path: index % 2 == 0 ? "/v1/a%" : "/user/read")
            event.status = index % 3 == 0 ? 502 : 200
            event.userID = User.ID(index % 2 == 0 ? "a" : "b")
            event.model = index % 2 == 0 ? "m" : nil
            event.promptTokens = index % 2 == 0 ? 10 : nil
            event.end = .done
            try await storage.events.close(event)
        }
    }

    private func walk(
        _ storage: SQLStorage, _ scan: EventScan
    ) async throws -> (events: [EventRecord], pages: Int) {
        var events: [EventRecord] = []
        var pages = 0
        var rest: EventScan? = scan
        while let scan = rest {
            let page = try await storage.store.events(scan)
            events += page.events
            pages += 1
            rest = page.rest
        }
        return (events, pages)
    }

    @Test(arguments: [1, 7, 10, 20, 21, 100])
    func `a walk meets every event once, forward and backward, in parts of any size`(
        size: Int
    ) async throws {
        try await Place().with { storage in
            try await fill(storage, 20)
            let forward = try await walk(storage, EventScan(size: size)).events
            #expect(forward.count == 20)
            #expect(forward.map(\.id) == forward.map(\.id).sorted())
            let backward = try await walk(storage, EventScan(newestFirst: true, size: size))
            #expect(backward.events == forward.reversed())
            #expect(backward.pages >= 20 / size)
        }
    }

    @Test(arguments: Engine.allCases)
    func `filters are asked of every part`(
        on engine: Engine
    ) async throws {
        try await Place().with { storage in
            try await fill(storage, 20)
            var filter = EventScan.Filter()
            filter.statuses = 500...599
            #expect(try await walk(storage, EventScan(filter, size: 3)).events.count == 7)
            filter.user = User.ID("a")
            #expect(try await walk(storage, EventScan(filter, size: 3)).events.count == 4)
            filter.kind = "request"
            #expect(try await walk(storage, EventScan(filter, size: 3)).events.isEmpty)
            var paths = EventScan.Filter()
            paths.pathPrefix = "/v1/"
            #expect(try await walk(storage, EventScan(paths, size: 3)).events.count == 10)
            // A wildcard is a character like any other.
            paths.pathPrefix = "/v1/%"
            #expect(try await walk(storage, EventScan(paths, size: 3)).events.isEmpty)
        }
    }

    @Test(arguments: Engine.allCases)
    func `bounds in time are those of the calls' beginnings`(
        on engine: Engine
    ) async throws {
        try await Place().with { storage in
            try await fill(storage, 20)
            let scan = EventScan(
                since: now.adding(seconds: 5), until: now.adding(seconds: 8), size: 2)
            let events = try await walk(storage, scan).events
            #expect(events.map(\.timestamp) == (5..<8).map { now.adding(seconds: $0) })
            #expect(EventScan.bound(Timestamp(milliseconds: -1)) == EventScan.first)
        }
    }

    @Test(arguments: Engine.allCases)
    func `usage is the calls that went upstream, by user, model and day`(
        on engine: Engine
    ) async throws {
        try await Place().with { storage in
            try await fill(storage, 20)
            var counts: [UsageKey: UsageCount] = [:]
            var rest: EventScan? = EventScan(size: 3)
            while let scan = rest {
                let page = try await storage.store.usage(scan)
                for (key, count) in page.counts { counts[key, default: UsageCount()] += count }
                rest = page.rest
            }
            let day = now.milliseconds / 86_400_000
            let key = UsageKey(userID: "a", model: "m", day: day)
            #expect(counts == [key: UsageCount(calls: 10, promptTokens: 100)])
        }
    }

    @Test(arguments: Engine.allCases)
    func `open events are distinguished from those that have ended`(
        on engine: Engine
    ) async throws {
        try await Place().with { storage in
            let event = makeEvent()
            storage.events.open(event)
            try await storage.events.opened(event.id)
            let open = try await storage.store.eventIDs(from: EventScan.first, limit: 10)
            #expect(open.map(\.hasEnded) == [false])
            try await storage.events.close(closed(event))
            let ended = try await storage.store.eventIDs(from: event.id.text, limit: 10)
            #expect(ended.map(\.hasEnded) == [true])
            #expect(try await storage.store.events(ids: [event.id.text]).map(\.end) == ["done"])
        }
    }
}
