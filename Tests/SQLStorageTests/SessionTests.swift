internal import ProxyGPT
internal import Testing

@testable internal import SQLStorage

@Suite struct SessionTests {
    @Test func `a token's digest finds its session and user, in every process at once`()
        async throws
    {
        let place = try Place()
        let one = try place.open()
        let other = try place.open()
        let (user, new) = try await one.addUser("asim")
        let caller = try await other.store.caller(tokenDigest: new.tokenDigest, now: now)
        #expect(caller == Caller(user: user, session: new.session))
        #expect(try await other.store.caller(tokenDigest: [0], now: now) == nil)
        #expect(try await other.store.endSession(tokenDigest: new.tokenDigest, now: now))
        #expect(try await one.store.caller(tokenDigest: new.tokenDigest, now: now) == nil)
        await one.close()
        await other.close()
    }

    @Test func `an expired session is not found and has nothing left to end`() async throws {
        let place = try Place()
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

    @Test func `a touched session lasts longer, an ended one stays ended`() async throws {
        let place = try Place()
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

    @Test func `a session of nobody is refused`() async throws {
        let place = try Place()
        try await place.with { storage in
            let error = await #expect(throws: DatabaseError.self) {
                try await storage.store.add(makeSession(of: User.ID("nobody")))
            }
            #expect(error?.kind == .constraint)
        }
    }
}
