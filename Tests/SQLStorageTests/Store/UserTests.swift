internal import ProxyGPT
internal import TestSupport
internal import Testing

@testable internal import SQLStorage

@Suite struct UserTests {
    @Test(arguments: Engine.allCases)
    func `a new user is found by folded name and by id`(
        on engine: Engine
    ) async throws {
        let place = try await Place(engine)
        try await place.with { storage in
            let user = try await storage.addUser("Asím").user
            let byName = try await storage.store.login(foldedName: Username.folded("ASÍM"))
            #expect(byName?.user == user)
            #expect(byName?.passwordHash == "hash of Asím")
            #expect(try await storage.store.login(id: user.id)?.user == user)
            #expect(try await storage.store.login(foldedName: "asim") == nil)
            #expect(try await storage.store.login(id: User.ID("nobody")) == nil)
        }
    }

    @Test(arguments: Engine.allCases)
    func `of many sign-ups with one name one makes a user, whichever process it is`(
        on engine: Engine
    )
        async throws
    {
        let place = try await Place(engine)
        let storages = [try await place.open(), try await place.open()]
        let names = ["asim", "ASIM", "Asim"]
        let results = await concurrently(30) { index in
            try await storages[index % 2].addUser(names[index % 3])
        }
        let conflicts = results.compactMap { result -> Failure? in
            guard case .failure(let error) = result else { return nil }
            return error as? Failure
        }
        #expect(conflicts.count == 29)
        #expect(conflicts.allSatisfy { $0.code == .conflict && $0.parameter == "username" })
        #expect(try await storages[1].number("SELECT COUNT(*) AS number FROM users") == 1)
        #expect(try await storages[1].number("SELECT COUNT(*) AS number FROM sessions") == 1)
        for storage in storages { await storage.close() }
    }

    @Test(arguments: Engine.allCases)
    func `a sign-up whose session cannot be stored leaves no user`(
        on engine: Engine
    ) async throws {
        let place = try await Place(engine)
        try await place.with { storage in
            let digest: [UInt8] = [1, 2, 3]
            let first = try makeUser("first")
            try await storage.store.create(
                first, session: makeSession(of: first.user.id, digest: digest))
            let second = try makeUser("second")
            await #expect(throws: DatabaseError.self) {
                try await storage.store.create(
                    second, session: makeSession(of: second.user.id, digest: digest))
            }
            #expect(try await storage.store.login(id: second.user.id) == nil)
        }
    }

    @Test(arguments: Engine.allCases)
    func `an update writes the given columns and leaves the rest`(
        on engine: Engine
    ) async throws {
        let place = try await Place(engine)
        try await place.with { storage in
            let user = try await storage.addUser("asim").user
            let later = now.adding(seconds: 5)
            let named = try await storage.store.update(
                user.id, UserChange(firstName: "Asim"), now: later)
            #expect(named.firstName == "Asim")
            #expect(named.lastName == user.lastName)
            #expect(named.username == "asim")
            #expect(named.updatedAt == later)
            #expect(named.createdAt == user.createdAt)
            #expect(try await storage.store.login(id: user.id)?.user == named)

            let renamed = try await storage.store.update(
                user.id, UserChange(username: Username("ASIM"), lastName: ""), now: later)
            #expect(renamed.username == "ASIM")
            #expect(renamed.lastName.isEmpty)
            #expect(renamed.firstName == "Asim")
            #expect(try await storage.store.login(foldedName: "asim")?.user == renamed)
        }
    }

    @Test(arguments: Engine.allCases)
    func `an update to a taken name is a conflict and changes nothing`(
        on engine: Engine
    ) async throws {
        let place = try await Place(engine)
        try await place.with { storage in
            _ = try await storage.addUser("first")
            let second = try await storage.addUser("second").user
            let failure = await #expect(throws: Failure.self) {
                try await storage.store.update(
                    second.id, UserChange(username: Username("FIRST"), firstName: "X"), now: now)
            }
            #expect(failure?.code == .conflict)
            #expect(try await storage.store.login(id: second.id)?.user == second)
        }
    }

    @Test(arguments: Engine.allCases)
    func `an update of an unknown user is not found`(
        on engine: Engine
    ) async throws {
        let place = try await Place(engine)
        try await place.with { storage in
            let failure = await #expect(throws: Failure.self) {
                try await storage.store.update(User.ID("nobody"), UserChange(), now: now)
            }
            #expect(failure?.code == .notFound)
        }
    }

    @Test(arguments: Engine.allCases)
    func `a new password ends all sessions but the one that set it`(
        on engine: Engine
    ) async throws {
        let place = try await Place(engine)
        try await place.with { storage in
            let (user, mine) = try await storage.addUser("asim")
            let other = makeSession(of: user.id)
            #expect(try await storage.store.add(other, ifPasswordHashIs: "hash of asim"))
            let (_, foreign) = try await storage.addUser("somebody")
            let store = storage.store

            #expect(
                try await !store.replacePassword(
                    of: user.id, expected: "stale", with: "new", keeping: mine.session.id, now: now)
            )
            #expect(try await store.caller(tokenDigest: other.tokenDigest, now: now) != nil)
            #expect(try await store.login(id: user.id)?.passwordHash == "hash of asim")

            #expect(
                try await store.replacePassword(
                    of: user.id, expected: "hash of asim", with: "new", keeping: mine.session.id,
                    now: now))
            #expect(try await store.caller(tokenDigest: other.tokenDigest, now: now) == nil)
            #expect(try await store.caller(tokenDigest: mine.tokenDigest, now: now) != nil)
            #expect(try await store.caller(tokenDigest: foreign.tokenDigest, now: now) != nil)
            #expect(try await store.login(id: user.id)?.passwordHash == "new")
        }
    }

    @Test(arguments: Engine.allCases)
    func `a stronger hash replaces only the hash it was made for`(
        on engine: Engine
    ) async throws {
        let place = try await Place(engine)
        try await place.with { storage in
            let user = try await storage.addUser("asim").user
            let store = storage.store
            try await store.strengthenPassword(of: user.id, expected: "stale", with: "strong")
            #expect(try await store.login(id: user.id)?.passwordHash == "hash of asim")
            try await store.strengthenPassword(
                of: user.id, expected: "hash of asim", with: "strong")
            #expect(try await store.login(id: user.id)?.passwordHash == "strong")
        }
    }
}
