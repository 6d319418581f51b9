internal import ProxyGPT
internal import TestSupport
internal import Testing

@testable internal import SQLStorage

@Suite struct SessionTests {
    @Test(arguments: Engine.allCases)
    func `a token's digest finds its session and user, in every process at once`(
        on engine: Engine
    )
        async throws
    {
        let place = try await Place(engine)
        let one = try await place.open()
        let other = try await place.open()
        let (user, new) = try await one.addUser("asim")
        let caller = try await other.store.caller(tokenDigest: new.tokenDigest, now: now)
        #expect(caller == Caller(user: user, session: new.session))
        #expect(try await other.store.caller(tokenDigest: [0], now: now) == nil)
        #expect(try await other.store.endSession(tokenDigest: new.tokenDigest, now: now))
        #expect(try await one.store.caller(tokenDigest: new.tokenDigest, now: now) == nil)
        await one.close()
        await other.close()
    }

    @Test(arguments: Engine.allCases)
    func `an expired session is not found and has nothing left to end`(
        on engine: Engine
    ) async throws {
        let place = try await Place(engine)
        try await place.with { storage in
            let (_, new) = try await storage.addUser("asim")
            let end = new.session.expiresAt
            let store = storage.store
            let last = Timestamp(milliseconds: end.milliseconds - 1)
            #expect(try await store.caller(tokenDigest: new.tokenDigest, now: last) != nil)
            #expect(try await store.caller(tokenDigest: new.tokenDigest, now: end) == nil)
            #expect(try await !store.endSession(tokenDigest: new.tokenDigest, now: end))
        }
    }

    @Test(arguments: Engine.allCases)
    func `a touched session lasts longer, an ended one stays ended`(
        on engine: Engine
    ) async throws {
        let place = try await Place(engine)
        try await place.with { storage in
            let (_, new) = try await storage.addUser("asim")
            let store = storage.store
            let later = now.adding(seconds: 3600)
            let end = now.adding(seconds: 90 * 86_400)
            try await store.touch(new.session.id, lastUsedAt: later, expiresAt: end)
            let session = try await store.caller(tokenDigest: new.tokenDigest, now: now)?.session
            #expect(session?.lastUsedAt == later)
            #expect(session?.expiresAt == end)
            #expect(session?.createdAt == new.session.createdAt)

            #expect(try await store.endSession(tokenDigest: new.tokenDigest, now: now))
            #expect(try await !store.endSession(tokenDigest: new.tokenDigest, now: now))
            try await store.touch(new.session.id, lastUsedAt: later, expiresAt: end)
            #expect(try await store.caller(tokenDigest: new.tokenDigest, now: now) == nil)
        }
    }

    @Test(arguments: Engine.allCases)
    func `a session of an unknown user, or one made with an old password, is not added`(
        on engine: Engine
    ) async throws {
        let place = try await Place(engine)
        try await place.with { storage in
            let store = storage.store
            let (user, _) = try await storage.addUser("asim")
            let stale = makeSession(of: user.id)
            #expect(try await !store.add(stale, ifPasswordHashIs: "an older hash"))
            #expect(try await store.caller(tokenDigest: stale.tokenDigest, now: now) == nil)
            let nobodys = makeSession(of: User.ID("nobody"))
            #expect(try await !store.add(nobodys, ifPasswordHashIs: "hash of asim"))
            #expect(try await store.add(stale, ifPasswordHashIs: "hash of asim"))
        }
    }
}
