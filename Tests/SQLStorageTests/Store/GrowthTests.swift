internal import ProxyGPT
internal import TestSupport
internal import Testing

@testable internal import SQLStorage

/// What a call costs does not depend on how many chats there are: by SQLite's own counters.
@Suite struct GrowthTests {
    /// A small or a large installation, always with the same people.
    private struct Scene {
        let storage: SQLStorage
        let reader: SQLiteReader
        /// Owns many chats, in each of which `joined` has a place.
        let owner: User
        let joined: User
        /// Places in many chats, none of them shared with `joined`.
        let other: User
        /// Owns a group of many chats with `member`.
        let lead: User
        let member: User
        /// Twenty chats of its own.
        let stranger: User
        let group: Group

        init(_ storage: SQLStorage, _ count: Int) async throws {
            self.storage = storage
            reader = try #require(storage.database as? SQLiteDatabase).reader
            owner = try await storage.addUser("owner").user
            joined = try await storage.addUser("joined").user
            other = try await storage.addUser("other").user
            lead = try await storage.addUser("lead").user
            member = try await storage.addUser("member").user
            stranger = try await storage.addUser("stranger").user
            group = makeGroup(of: lead.id)
            try await storage.store.create(group)
            try await storage.store.addMembers(
                [UserReference("member")], to: group.id, by: lead.id, now: now)
            let (joined, other) = (joined.id, other.id)
            try await storage.addChats(20, of: stranger.id)
            try await storage.addChats(count, of: owner.id) { _ in joined }
            try await storage.addChats(count, of: lead.id) { _ in other }
            try await storage.addChats(count, of: lead.id, in: group.id)
        }

        /// Steps of SQLite's machine, and of scans that no index helped, once statements are prepared.
        func cost(_ call: () async throws -> Void) async throws -> (steps: Int, scanned: Int) {
            try await call()
            _ = await reader.takeCost()
            try await call()
            return await reader.takeCost()
        }

        func read(_ other: User, by reader: User) async throws {
            _ = try await storage.store.user(UserReference(other.id), visibleTo: reader.id)
        }

        func index(_ user: User, in group: Group.ID? = nil) async throws {
            let listing = try await storage.store.chats(of: user.id, in: group, Page(limit: 20))
            #expect(listing.elements.count == 20)
        }
    }

    private typealias Call = @Sendable (Scene) async throws -> Void

    private static let calls: [(name: String, call: Call)] = [
        ("read oneself", { try await $0.read($0.owner, by: $0.owner) }),
        ("owner of many reads a stranger", { try await $0.read($0.stranger, by: $0.owner) }),
        ("stranger reads the owner of many", { try await $0.read($0.owner, by: $0.stranger) }),
        ("user of many reads a stranger", { try await $0.read($0.stranger, by: $0.joined) }),
        ("stranger reads the user of many", { try await $0.read($0.joined, by: $0.stranger) }),
        ("user of many reads another user of many", { try await $0.read($0.other, by: $0.joined) }),
        ("owner of many reads its user", { try await $0.read($0.joined, by: $0.owner) }),
        (
            "member of a group reads the user of many",
            { try await $0.read($0.joined, by: $0.member) }
        ),
        ("user of many reads a member of a group", { try await $0.read($0.member, by: $0.joined) }),
        ("members of a group read each other", { try await $0.read($0.member, by: $0.lead) }),
        ("list of a stranger", { try await $0.index($0.stranger) }),
        ("list of the owner of many", { try await $0.index($0.owner) }),
        ("list of the user of many", { try await $0.index($0.joined) }),
        ("list of a group's owner", { try await $0.index($0.lead) }),
        ("list of a group's member", { try await $0.index($0.member) }),
        ("list of a group", { try await $0.index($0.member, in: $0.group.id) }),
        ("groups", { _ = try await $0.storage.store.groups(of: $0.lead.id, Page()) }),
        ("members", { _ = try await $0.storage.store.members(of: $0.group.id, Page()) }),
    ]

    @Test func `reads and lists cost the same with three thousand chats as with a hundred`()
        async throws
    {
        let few = try await costs(with: 120)
        let many = try await costs(with: 3000)
        for (index, call) in Self.calls.enumerated() {
            let (few, many) = (few[index], many[index])
            #expect(many.steps * 2 <= few.steps * 3, "\(call.name): \(many) against \(few)")
            #expect(many.scanned <= few.scanned, "\(call.name): \(many) against \(few)")
        }
    }

    private func costs(with count: Int) async throws -> [(steps: Int, scanned: Int)] {
        let place = try Place()
        var costs: [(steps: Int, scanned: Int)] = []
        try await place.with { storage in
            let scene = try await Scene(storage, count)
            for (_, call) in Self.calls {
                costs.append(try await scene.cost { try await call(scene) })
            }
        }
        return costs
    }

    // MARK: - What ends in one call

    @Test(arguments: Engine.allCases)
    func `a removed member is a user of no chat of the group any more, however many there were`(
        on engine: Engine
    ) async throws {
        let place = try await Place(engine)
        try await place.with { storage in
            let owner = try await storage.addUser("owner").user
            let member = try await storage.addUser("member").user
            let group = makeGroup(of: owner.id)
            try await storage.store.create(group)
            let members = [UserReference("member")]
            try await storage.store.addMembers(members, to: group.id, by: owner.id, now: now)
            try await storage.addChats(1500, of: owner.id, in: group.id) { _ in member.id }
            try await storage.addChats(10, of: owner.id) { _ in member.id }
            let refusal = await #expect(throws: Failure.self) {
                try await storage.store.removeMembers(
                    members + [UserReference("owner")], from: group.id, by: owner.id, now: now)
            }
            #expect(refusal?.code == .invalidRequest)
            let places: SQL = "SELECT COUNT(*) AS number FROM chat_users"
            #expect(try await storage.number(places) == 1510, "none goes with a refusal")
            try await storage.store.removeMembers(members, from: group.id, by: owner.id, now: now)
            #expect(try await storage.number(places) == 10)
            #expect(try await storage.store.group(group.id, for: member.id) == nil)
            let revoked = try await storage.store.revocations(after: 0).map(\.revocation)
            #expect(revoked.last == Revocation(user: member.id, group: group.id))
        }
    }

    @Test func `ten thousand sessions or chat users that end hold the writer for 50 ms at most`()
        async throws
    {
        let holds = WriterHolds()
        let place = try Place()
        var tuning = SQLStorage.Tuning.still
        tuning.observe = holds.observer
        let owner = try makeUser("owner").user
        let session = makeSession(of: owner.id)
        let group = makeGroup(of: owner.id)
        let new = NewUser(user: owner, foldedName: "owner", passwordHash: "hash")
        // What is written here is checkpointed with the end.
        try await place.with { storage in
            try await storage.store.create(new, session: session)
            let member = try await storage.addUser("member").user
            try await storage.store.create(group)
            try await storage.store.addMembers(
                [UserReference("member")], to: group.id, by: owner.id, now: now)
            try await storage.addSessions(10_000, of: owner.id)
            try await storage.addChats(10_000, of: owner.id, in: group.id) { _ in member.id }
        }
        try await place.with(tuning: tuning) { storage in
            try await storage.write("DELETE FROM revocations")
            holds.startOver()
            _ = try await storage.store.replacePassword(
                of: owner.id, expected: "hash", with: "new", keeping: session.session.id, now: now)
            try await storage.store.removeMembers(
                [UserReference("member")], from: group.id, by: owner.id, now: now)
            // The rows of sessions that have ended.
            while try await !storage.lease.expire() {}
            let longest = holds.longest
            #expect(longest <= 50, "\(longest) ms")
            #expect(try await storage.number("SELECT COUNT(*) AS number FROM sessions") == 2)
            #expect(try await storage.number("SELECT COUNT(*) AS number FROM chat_users") == 0)
        }
    }
}

extension SQLStorage {
    fileprivate func addSessions(_ count: Int, of user: User.ID) async throws {
        _ = try await database.transaction { transaction in
            for _ in 0..<count { try await transaction.insert(makeSession(of: user)) }
            return 0
        }
    }
}
