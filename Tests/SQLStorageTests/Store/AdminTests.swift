internal import ProxyGPT
internal import TestSupport
internal import Testing

@testable internal import SQLStorage

/// The event that tells of a command.
private func act(_ command: String, _ user: User.ID? = nil) -> Event {
    var event = Event(
        id: Event.ID(ids.next()), timestamp: now, kind: .admin, path: command)
    event.userID = user
    event.end = .done
    event.detail = "by root"
    return event
}

@Suite struct AdminTests {
    private func caller(_ storage: SQLStorage, _ session: NewSession) async throws -> Caller? {
        try await storage.store.caller(tokenDigest: session.tokenDigest, now: now)
    }

    @Test(arguments: Engine.allCases)
    func `a reset ends all sessions, notifies open streams and leaves an event`(
        on engine: Engine
    ) async throws {
        try await Place(engine).with { storage in
            let (user, session) = try await storage.addUser("asim")
            let other = try await storage.addUser("other")
            let ended = try await storage.store.resetPassword(
                of: user.id, to: "new", act("reset", user.id))
            #expect(ended == 1)
            #expect(try await caller(storage, session) == nil)
            #expect(try await caller(storage, other.session) != nil)
            #expect(try await storage.store.login(id: user.id)?.passwordHash == "new")
            let revoked = try await storage.store.revocations(after: 0)
            #expect(revoked.map(\.revocation) == [Revocation(user: user.id)])
            let row = try #require(
                try await storage.database.query("SELECT * FROM events WHERE type = 'admin'").first)
            #expect(try row.text("path") == "reset")
            #expect(try row.text("user_id") == user.id.text)
            #expect(try row.text("end") == "done")
        }
    }

    @Test(arguments: Engine.allCases)
    func `a change that was not made leaves no event`(
        on engine: Engine
    ) async throws {
        try await Place(engine).with { storage in
            let nobody = User.ID("nobody")
            await #expect(throws: Failure.self) {
                _ = try await storage.store.resetPassword(of: nobody, to: "x", act("reset"))
            }
            await #expect(throws: Failure.self) {
                _ = try await storage.store.setDisabled(nobody, true, act("disable"))
            }
            await #expect(throws: Failure.self) {
                _ = try await storage.store.deleteUser(nobody, handingGroupsTo: nil, act("delete"))
            }
            let isEnded = try await storage.store.endSession(
                Session.ID("gone"), act("sessions revoke"))
            #expect(!isEnded)
            #expect(try await storage.number("SELECT COUNT(*) AS number FROM events") == 0)
        }
    }

    @Test(arguments: Engine.allCases)
    func `a created user has no session, and its name is its own`(
        on engine: Engine
    ) async throws {
        try await Place(engine).with { storage in
            let new = try makeUser("Asim")
            try await storage.store.create(new, act("create", new.user.id))
            let account = try #require(
                try await storage.store.account(UserReference("ASIM"), now: now))
            #expect(account.user == new.user)
            #expect(account.openSessions == 0)
            let failure = await #expect(throws: Failure.self) {
                try await storage.store.create(makeUser("asim"), act("create"))
            }
            #expect(failure?.code == .conflict)
        }
    }

    @Test(arguments: Engine.allCases)
    func `a disabled account has no sessions, its replies are to stop, and it opens again`(
        on engine: Engine
    )
        async throws
    {
        try await Place(engine).with { storage in
            let (user, session) = try await storage.addUser("asim")
            let chat = makeChat(of: user.id)
            try await storage.store.create(chat)
            try await storage.addMessages(1, to: chat, of: user.id)
            try await storage.write("UPDATE messages SET state = 'streaming'")
            #expect(try await storage.store.setDisabled(user.id, true, act("disable")))
            #expect(try await !storage.store.setDisabled(user.id, true, act("disable")))
            #expect(try await caller(storage, session) == nil)
            #expect(
                try await storage.number("SELECT stop_requested AS number FROM messages") == 1)
            #expect(
                try await storage.store.account(UserReference(user.id.text), now: now)?.disabledAt
                    == now)
            #expect(try await storage.store.setDisabled(user.id, false, act("enable")))
            #expect(try await storage.store.login(id: user.id)?.isDisabled == false)
        }
    }

    // MARK: - Deleting

    /// A user with a chat, a group with a chat, and a chat in the group of `other`.
    private func populate(_ storage: SQLStorage) async throws -> (user: User, other: User) {
        let user = try await storage.addUser("user").user
        let other = try await storage.addUser("other").user
        let own = makeChat(of: user.id)
        try await storage.store.create(own)
        try await storage.addMessages(3, to: own, of: user.id)
        try await storage.store.addUser(
            UserReference(other.id.text), to: own.id, by: user.id, now: now)
        let group = makeGroup(of: user.id)
        try await storage.store.create(group)
        try await storage.store.create(makeChat(of: user.id, in: group.id))
        let others = makeGroup(of: other.id)
        try await storage.store.create(others)
        try await storage.store.addMembers(
            [UserReference(user.id.text)], to: others.id, by: other.id, now: now)
        let inOthers = makeChat(of: user.id, in: others.id)
        try await storage.store.create(inOthers)
        try await storage.addMessages(2, to: inOthers, of: user.id)
        return (user, other)
    }

    @Test(arguments: Engine.allCases)
    func `a deleted user's chats and groups go, and its messages elsewhere stay`(
        on engine: Engine
    ) async throws {
        try await Place(engine).with { storage in
            let (user, other) = try await populate(storage)
            let expected = OwnedData(chats: 1, groups: 1, chatsOfGroups: 1, sessions: 1)
            #expect(try await storage.store.ownedData(of: user.id) == expected)
            let gone = try await storage.store.deleteUser(
                user.id, handingGroupsTo: nil, act("delete", user.id))
            #expect(gone == expected)
            while try await storage.store.sweepDeletions() {}
            #expect(try await storage.store.login(id: user.id) == nil)
            let chats = try await storage.store.chats(of: nil, in: nil, before: nil, limit: 10)
            #expect(chats.map(\.chat.userID) == [other.id])
            #expect(try await storage.number("SELECT COUNT(*) AS number FROM messages") == 2)
            #expect(try await storage.number("SELECT COUNT(*) AS number FROM groups") == 1)
            let memberships: SQL = "SELECT COUNT(*) AS number FROM group_members"
            #expect(try await storage.number(memberships) == 1)
            // The one that it shared, its group, itself.
            #expect(try await storage.store.revocations(after: 0).count >= 3)
            if engine == .sqlite {
                #expect(try await storage.database.query("PRAGMA foreign_key_check").isEmpty)
            }
        }
    }

    @Test(arguments: Engine.allCases)
    func `groups may be handed on, to a user that is no member yet`(
        on engine: Engine
    ) async throws {
        try await Place(engine).with { storage in
            let (user, _) = try await populate(storage)
            let newOwner = try await storage.addUser("newOwner").user
            _ = try await storage.store.deleteUser(
                user.id, handingGroupsTo: newOwner.id, act("delete", user.id))
            let groups = try await storage.store.groups(of: newOwner.id, Page()).elements
            #expect(groups.map(\.ownerID) == [newOwner.id])
            while try await storage.store.sweepDeletions() {}
            let chats = try await storage.store.chats(
                of: newOwner.id, in: groups.first?.id, before: nil, limit: 10)
            #expect(chats.count == 1)
            if engine == .sqlite {
                #expect(try await storage.database.query("PRAGMA foreign_key_check").isEmpty)
            }
        }
    }

    // MARK: - Lists

    @Test(arguments: Engine.allCases)
    func `lists come in pages, and expired sessions are not open`(
        on engine: Engine
    ) async throws {
        try await Place(engine).with { storage in
            for index in 0..<5 { _ = try await storage.addUser("user-\(index)") }
            var names: [String] = []
            var last: User.ID?
            repeat {
                let page = try await storage.store.accounts(after: last, limit: 2, now: now)
                names += page.map(\.user.username)
                last = page.last?.user.id
            } while last != nil
            #expect(names.sorted() == (0..<5).map { "user-\($0)" })
            let open = try await storage.store.openSessions(
                of: nil, after: nil, limit: 10, now: now)
            #expect(open.count == 5)
            let later = now.adding(seconds: 31 * 86_400)
            #expect(
                try await storage.store.openSessions(of: nil, after: nil, limit: 10, now: later)
                    .isEmpty)
            #expect(
                try await storage.store.accounts(after: nil, limit: 1, now: later).first?
                    .openSessions == 0)
        }
    }

    @Test(arguments: Engine.allCases)
    func `sessions are ended by id, and all of one user`(
        on engine: Engine
    ) async throws {
        try await Place(engine).with { storage in
            let (user, session) = try await storage.addUser("asim")
            let second = makeSession(of: user.id)
            #expect(
                try await storage.store.add(second, ifPasswordHashIs: "hash of asim"))
            #expect(
                try await storage.store.endSession(session.session.id, act("sessions revoke")))
            #expect(try await caller(storage, session) == nil)
            #expect(try await caller(storage, second) != nil)
            #expect(
                try await storage.store.endSessions(of: user.id, act("sessions revoke")) == 1)
            #expect(
                try await storage.store.revocations(after: 0).map(\.revocation) == [
                    Revocation(session: session.session.id), Revocation(user: user.id),
                ])
        }
    }
}
