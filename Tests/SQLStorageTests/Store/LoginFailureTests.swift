internal import ProxyGPT
internal import TestSupport
internal import Testing

@testable internal import SQLStorage

@Suite struct LoginFailureTests {
    private let throttle = LoginThrottle(foldedName: "asim", clientAddress: "192.0.2.1")

    private func counters(_ storage: SQLStorage, at time: Timestamp = now) async throws -> [[Int64]]
    {
        let failures = try await storage.store.loginFailures(throttle.keys, now: time)
        return throttle.keys.map { key in
            failures[key].map { [$0.count, $0.underWay] } ?? []
        }
    }

    @Test(arguments: Engine.allCases)
    func `a try is under way until it has failed`(on engine: Engine) async throws {
        let place = try await Place(engine)
        try await place.with { storage in
            let store = storage.store
            #expect(try await counters(storage) == [[], [], []])
            #expect(try await store.beginLogin(throttle, now: now) == .admitted)
            #expect(try await counters(storage) == [[0, 1], [0, 1], [0, 1]])
            try await store.failLogin(throttle, now: now)
            #expect(try await counters(storage) == [[1, 0], [1, 0], [1, 0]])
        }
    }

    @Test(arguments: Engine.allCases)
    func `a success forgets all but the failures of the address`(on engine: Engine) async throws {
        let place = try await Place(engine)
        try await place.with { storage in
            let store = storage.store
            #expect(try await store.beginLogin(throttle, now: now) == .admitted)
            try await store.succeedLogin(throttle)
            #expect(try await counters(storage) == [[], [], []])
            for _ in 0..<2 { _ = try await store.beginLogin(throttle, now: now) }
            try await store.failLogin(throttle, now: now)
            try await store.succeedLogin(throttle)
            #expect(try await counters(storage) == [[], [1, 0], []])
        }
    }

    @Test(arguments: Engine.allCases)
    func `a try that came to nothing is given back`(on engine: Engine) async throws {
        let place = try await Place(engine)
        try await place.with { storage in
            let store = storage.store
            _ = try await store.beginLogin(throttle, now: now)
            try await store.abandonLogin(throttle)
            #expect(try await counters(storage) == [[], [], []])
            for _ in 0..<2 { _ = try await store.beginLogin(throttle, now: now) }
            try await store.failLogin(throttle, now: now)
            try await store.abandonLogin(throttle)
            try await store.abandonLogin(throttle)
            #expect(try await counters(storage) == [[1, 0], [1, 0], [1, 0]])
        }
    }

    @Test(arguments: Engine.allCases)
    func `of two hundred tries at once in two processes no more than five are under way`(
        on engine: Engine
    ) async throws {
        let place = try await Place(engine)
        let storages = [try await place.open(), try await place.open()]
        let results = await concurrently(200) { index in
            try await storages[index % 2].store.beginLogin(throttle, now: now)
        }
        let admissions = try results.map { try $0.get() }
        #expect(admissions.filter { $0 == .admitted }.count == 5)
        #expect(admissions.allSatisfy { $0 == .admitted || $0 == .undecided })
        #expect(try await counters(storages[0]) == [[0, 5], [0, 5], [0, 5]])
        for storage in storages { try await storage.store.failLogin(throttle, now: now) }
        // Two have failed and three may still: nobody else gets in before that is known.
        #expect(try await storages[1].store.beginLogin(throttle, now: now) == .undecided)
        for _ in 0..<3 { try await storages[0].store.failLogin(throttle, now: now) }
        #expect(try await storages[1].store.beginLogin(throttle, now: now) == .delayed(1))
        // After the delay one alone is let in, whose end decides about the next.
        let later = now.adding(seconds: 1)
        #expect(try await storages[0].store.beginLogin(throttle, now: later) == .admitted)
        #expect(try await storages[1].store.beginLogin(throttle, now: later) == .undecided)
        for storage in storages { await storage.close() }
    }

    @Test(arguments: Engine.allCases)
    func `tries of a process that died are under way for a minute`(
        on engine: Engine
    ) async throws {
        let place = try await Place(engine)
        try await place.with { storage in
            let store = storage.store
            for _ in 0..<5 { _ = try await store.beginLogin(throttle, now: now) }
            let later = now.adding(seconds: 60)
            #expect(try await store.beginLogin(throttle, now: later) == .undecided)
            #expect(
                try await store.beginLogin(throttle, now: later.adding(seconds: 1)) == .admitted)
            #expect(try await counters(storage, at: later.adding(seconds: 1))[0] == [0, 1])
            // A clock that was set back does not keep them either.
            for _ in 0..<4 {
                _ = try await store.beginLogin(throttle, now: later.adding(seconds: 1))
            }
            #expect(
                try await store.beginLogin(throttle, now: now.adding(seconds: -60)) == .admitted)
        }
    }

    @Test(arguments: Engine.allCases)
    func `counting starts anew after a while, and old counters are removed`(
        on engine: Engine
    ) async throws {
        let place = try await Place(engine)
        try await place.with { storage in
            let store = storage.store
            let other = LoginThrottle(foldedName: "other", clientAddress: "192.0.2.2")
            for _ in 0..<2 { try await store.failLogin(throttle, now: now) }
            try await store.failLogin(other, now: now)
            let later = now.adding(seconds: LoginThrottle.forgetAfter + 1)
            #expect(try await counters(storage, at: later) == [[0, 0], [0, 0], [0, 0]])
            try await store.failLogin(throttle, now: later)
            #expect(try await counters(storage, at: later) == [[1, 0], [1, 0], [1, 0]])
            // Each call removes as much as a few milliseconds allow.
            let rows: SQL = "SELECT COUNT(*) AS number FROM login_failures"
            for _ in 0..<20 where try await storage.number(rows) > 3 {
                try await store.failLogin(throttle, now: later)
            }
            #expect(try await storage.number(rows) == 3)
            let muchLater = later.adding(seconds: LoginThrottle.forgetAfter + 1)
            #expect(try await store.beginLogin(throttle, now: muchLater) == .admitted)
            #expect(try await counters(storage, at: muchLater) == [[0, 1], [0, 1], [0, 1]])
        }
    }

    @Test(arguments: Engine.allCases)
    func `no failure is lost when two processes count at once`(
        on engine: Engine
    ) async throws {
        let place = try await Place(engine)
        let storages = [try await place.open(), try await place.open()]
        for result in await concurrently(
            100,
            { index in try await storages[index % 2].store.failLogin(throttle, now: now) })
        {
            try result.get()
        }
        #expect(try await counters(storages[0])[0] == [100, 0])
        for storage in storages { await storage.close() }
    }
}
