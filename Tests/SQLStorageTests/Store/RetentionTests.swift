internal import ProxyGPT
internal import TestSupport
internal import Testing

@testable internal import SQLStorage

@Suite struct RetentionTests {
    private static func id(_ number: Int) -> String {
        UUIDText.version7(milliseconds: Int64(number), counter: 0, random: 0)
    }

    private func addEvents(_ numbers: Range<Int>, to storage: SQLStorage) async throws {
        for number in numbers {
            let event = Event(id: Event.ID(Self.id(number)), timestamp: now, kind: .request)
            try await storage.events.close(closed(event))
        }
    }

    private func remaining(_ storage: SQLStorage) async throws -> [String] {
        try await storage.database.query("SELECT id FROM events ORDER BY id").map {
            try $0.text("id")
        }
    }

    @Test(arguments: Engine.allCases)
    func `old events go step by step, in the order of their ids`(on engine: Engine) async throws {
        let place = try await Place(engine)
        try await place.with { storage in
            try await addEvents(0..<10, to: storage)
            while try await !storage.lease.expire() {}
            let end = Self.id(7)
            let first = try await storage.store.removeEvents(from: "", before: end, limit: 5)
            #expect(first == EventRemoval(count: 5, rest: Self.id(5)))
            #expect(try await remaining(storage) == (5..<10).map(Self.id))
            let second = try await storage.store.removeEvents(
                from: Self.id(5), before: end, limit: 5)
            #expect(second == EventRemoval(count: 2, rest: nil))
            #expect(try await remaining(storage) == (7..<10).map(Self.id))
        }
    }

    @Test(arguments: Engine.allCases)
    func `two processes that remove at once leave nothing`(on engine: Engine) async throws {
        let place = try await Place(engine)
        let storages = [try await place.open(), try await place.open()]
        try await addEvents(0..<200, to: storages[0])
        while try await !storages[0].lease.expire() {}
        let counts = await concurrently(2) { index in
            var count = 0
            var start: String? = ""
            while let from = start {
                let step = try await storages[index].store.removeEvents(
                    from: from, before: Self.id(190), limit: 7)
                count += step.count
                start = step.rest
            }
            return count
        }
        #expect(try counts.map { try $0.get() }.reduce(0, +) == 190)
        #expect(try await remaining(storages[0]) == (190..<200).map(Self.id))
        for storage in storages { await storage.close() }
    }
}
