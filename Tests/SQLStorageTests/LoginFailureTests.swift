internal import ProxyGPT
internal import TestSupport
internal import Testing

@testable internal import SQLStorage

@Suite struct LoginFailureTests {
    @Test(arguments: Engine.allCases)
    func `failures are counted by key, and a key without any is absent`(
        on engine: Engine
    ) async throws {
        let place = try await Place(engine)
        try await place.with { storage in
            let store = storage.store
            let later = now.adding(seconds: 1)
            try await store.countLoginFailure(["a", "b"], now: now, forgetAfter: 60)
            try await store.countLoginFailure(["a"], now: later, forgetAfter: 60)
            let failures = try await store.loginFailures(["a", "b", "c"])
            #expect(
                failures == [
                    "a": LoginFailures(count: 2, lastAt: later),
                    "b": LoginFailures(count: 1, lastAt: now),
                ])
            #expect(try await store.loginFailures([]).isEmpty)
        }
    }

    @Test(arguments: Engine.allCases)
    func `counting starts anew after a while, and what is old goes`(
        on engine: Engine
    ) async throws {
        let place = try await Place(engine)
        try await place.with { storage in
            let store = storage.store
            try await store.countLoginFailure(["a", "b"], now: now, forgetAfter: 60)
            try await store.countLoginFailure(["a"], now: now, forgetAfter: 60)
            let later = now.adding(seconds: 61)
            try await store.countLoginFailure(["a"], now: later, forgetAfter: 60)
            #expect(
                try await store.loginFailures(["a", "b"])
                    == ["a": LoginFailures(count: 1, lastAt: later)])
        }
    }

    @Test(arguments: Engine.allCases)
    func `clearing forgets the given keys alone`(
        on engine: Engine
    ) async throws {
        let place = try await Place(engine)
        try await place.with { storage in
            let store = storage.store
            try await store.countLoginFailure(["a", "b"], now: now, forgetAfter: 60)
            try await store.clearLoginFailures(["a"])
            #expect(try await store.loginFailures(["a", "b"]).keys.sorted() == ["b"])
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
            { index in
                try await storages[index % 2].store.countLoginFailure(
                    ["a"], now: now, forgetAfter: 60)
            })
        {
            try result.get()
        }
        #expect(try await storages[0].store.loginFailures(["a"])["a"]?.count == 100)
        for storage in storages { await storage.close() }
    }
}
