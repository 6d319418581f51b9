internal import ProxyGPT
internal import TestSupport
internal import Testing

@testable internal import SQLStorage

/// All sessions of a user that end at once, of which there may be very many.
@Suite struct SessionGenerationTests {
    private func event() -> Event {
        var event = Event(
            id: Event.ID(ids.next()), timestamp: now, kind: .admin, path: "sessions revoke")
        event.end = .done
        return event
    }

    /// Adds sessions and returns the digest of the last one.
    private func add(_ count: Int, of user: User.ID, to storage: SQLStorage) async throws -> [UInt8]
    {
        var last: [UInt8] = []
        for first in stride(from: 0, to: count, by: 500) {
            let sessions = (first..<min(count, first + 500)).map { _ in makeSession(of: user) }
            try await storage.database.transaction { transaction in
                for session in sessions { try await transaction.insert(session) }
            }
            last = sessions.last?.tokenDigest ?? last
        }
        return last
    }

    private func count(_ storage: SQLStorage, _ table: String) async throws -> Int64 {
        try await storage.number("SELECT COUNT(*) AS number FROM \(unsafe: table)")
    }

    @Test(arguments: Engine.allCases)
    func `very many sessions are dead at once, and their rows go in steps`(
        on engine: Engine
    ) async throws {
        let place = try await Place(engine)
        try await place.with { storage in
            let (user, first) = try await storage.addUser("asim")
            let (_, foreign) = try await storage.addUser("other")
            let last = try await add(3000, of: user.id, to: storage)
            let store = storage.store
            #expect(try await store.endSessions(of: user.id, event()) == 3001)
            #expect(try await count(storage, "sessions") >= 1000, "one step removed them all")
            for digest in [first.tokenDigest, last] {
                #expect(try await store.caller(tokenDigest: digest, now: now) == nil)
            }
            let open = try await store.openSessions(of: user.id, after: nil, limit: 9, now: now)
            #expect(open.isEmpty)
            #expect(
                try await store.account(UserReference("asim"), now: now)?.openSessions == 0)
            #expect(try await store.endSessions(of: user.id, event()) == 0)

            // A session that begins meanwhile stays.
            let new = makeSession(of: user.id)
            #expect(try await store.add(new, ifPasswordHashIs: "hash of asim"))
            while try await store.sweepDeletions() {}
            #expect(try await count(storage, "sessions") == 2)
            #expect(try await count(storage, "deletions") == 0)
            for digest in [new.tokenDigest, foreign.tokenDigest] {
                #expect(try await store.caller(tokenDigest: digest, now: now) != nil)
            }
        }
    }

    @Test(arguments: Engine.allCases)
    func `a new password, a reset and a disabled account do not wait for the rows either`(
        on engine: Engine
    ) async throws {
        let place = try await Place(engine)
        try await place.with { storage in
            let (user, mine) = try await storage.addUser("asim")
            let store = storage.store
            var digest = try await add(1500, of: user.id, to: storage)
            #expect(
                try await store.replacePassword(
                    of: user.id, expected: "hash of asim", with: "new", keeping: mine.session.id,
                    now: now))
            #expect(try await count(storage, "sessions") > 1)
            #expect(try await store.caller(tokenDigest: digest, now: now) == nil)
            while try await store.sweepDeletions() {}
            #expect(try await store.caller(tokenDigest: mine.tokenDigest, now: now) != nil)
            #expect(try await count(storage, "sessions") == 1)

            digest = try await add(1500, of: user.id, to: storage)
            #expect(try await store.resetPassword(of: user.id, to: "newer", event()) == 1501)
            #expect(try await store.caller(tokenDigest: digest, now: now) == nil)
            digest = try await add(1500, of: user.id, to: storage)
            #expect(try await store.setDisabled(user.id, true, event()))
            #expect(try await store.setDisabled(user.id, false, event()))
            #expect(try await store.caller(tokenDigest: digest, now: now) == nil)
            while try await store.sweepDeletions() {}
            #expect(try await count(storage, "sessions") == 0)
            #expect(try await count(storage, "deletions") == 0)
        }
    }
}
