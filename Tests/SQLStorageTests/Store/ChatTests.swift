internal import ProxyGPT
internal import TestSupport
internal import Testing

@testable internal import SQLStorage

@Suite struct ChatTests {
    @Test(arguments: Engine.allCases)
    func `a chat is visible to its owner alone`(
        on engine: Engine
    ) async throws {
        let place = try await Place(engine)
        try await place.with { storage in
            let asim = try await storage.addUser("asim").user
            let other = try await storage.addUser("other").user
            let chat = makeChat(of: asim.id)
            try await storage.store.create(chat)
            let access = try await storage.store.access(to: chat.id, of: asim.id)
            #expect(access == ChatAccess(chat: chat, role: .owner))
            #expect(try await storage.store.access(to: chat.id, of: other.id) == nil)
            #expect(try await storage.store.access(to: Chat.ID("none"), of: asim.id) == nil)
        }
    }

    @Test(arguments: Engine.allCases)
    func `a chat user that the previous release has added is removed like others, and is completed`(
        on engine: Engine
    ) async throws {
        let place = try await Place(engine)
        try await place.with { storage in
            let store = storage.store
            let owner = try await storage.addUser("owner").user
            let guest = try await storage.addUser("guest").user
            let group = makeGroup(of: owner.id)
            try await store.create(group)
            let (chat, own) = (makeChat(of: owner.id, in: group.id), makeChat(of: owner.id))
            for each in [chat, own] {
                try await store.create(each)
                try await storage.write(
                    """
                    INSERT INTO chat_users (chat_id, user_id, created_at)
                    VALUES (\(each.id), \(guest.id), \(now))
                    """)
            }
            while try await !storage.lease.expire() {}
            let chats = try await store.chats(of: guest.id, in: nil, Page()).elements.map(\.id)
            #expect(Set(chats) == [chat.id, own.id])
            #expect(
                try await store.user(UserReference("owner"), visibleTo: guest.id)?.id == owner.id)
            try await storage.write("UPDATE chat_users SET seq = 0, owner_id = '', group_id = NULL")
            try await storage.write(
                """
                INSERT INTO group_members (group_id, user_id, created_at)
                VALUES (\(group.id), \(guest.id), \(now))
                """)
            try await store.removeMembers(
                [UserReference("guest")], from: group.id, by: owner.id, now: now)
            #expect(try await store.access(to: chat.id, of: guest.id) == nil)
            #expect(try await store.access(to: own.id, of: guest.id) != nil)
        }
    }

    @Test(arguments: Engine.allCases)
    func `rights in a group's chat follow from the present membership`(
        on engine: Engine
    )
        async throws
    {
        let place = try await Place(engine)
        try await place.with { storage in
            let store = storage.store
            let owner = try await storage.addUser("owner").user
            let maker = try await storage.addUser("maker").user
            let guest = try await storage.addUser("guest").user
            let group = makeGroup(of: owner.id)
            try await store.create(group)
            try await store.addMembers(
                [UserReference("maker")], to: group.id, by: owner.id, now: now)
            let chat = makeChat(of: maker.id, in: group.id)
            try await store.create(chat)
            try await store.addUser(UserReference("guest"), to: chat.id, by: maker.id, now: now)

            func role(_ user: User) async throws -> ChatRole? {
                try await store.access(to: chat.id, of: user.id)?.role
            }
            #expect(try await role(owner) == .owner)
            #expect(try await role(maker) == .owner)
            #expect(try await role(guest) == .member)

            try await store.removeMembers(
                [UserReference(maker.id.text)], from: group.id, by: maker.id, now: now)
            #expect(try await role(maker) == nil, "its maker has left the group")
            #expect(try await store.users(of: chat.id).map(\.id) == [guest.id])
            #expect(try await role(owner) == .owner)
            await #expect(throws: Failure.notFound("chat")) {
                try await store.deleteChat(chat.id, by: maker.id, now: now)
            }
        }
    }

    @Test(arguments: Engine.allCases)
    func `only members make chats in a group`(
        on engine: Engine
    ) async throws {
        let place = try await Place(engine)
        try await place.with { storage in
            let owner = try await storage.addUser("owner").user
            let other = try await storage.addUser("other").user
            let group = makeGroup(of: owner.id)
            try await storage.store.create(group)
            await #expect(throws: Failure.notFound("group")) {
                try await storage.store.create(makeChat(of: other.id, in: group.id))
            }
        }
    }

    @Test(arguments: Engine.allCases)
    func `a member may read, not change, and leave`(
        on engine: Engine
    ) async throws {
        let place = try await Place(engine)
        try await place.with { storage in
            let store = storage.store
            let owner = try await storage.addUser("owner").user
            let member = try await storage.addUser("member").user
            let chat = makeChat(of: owner.id)
            try await store.create(chat)
            for _ in 0..<2 {
                try await store.addUser(
                    UserReference("MEMBER"), to: chat.id, by: owner.id, now: now)
            }
            #expect(try await store.users(of: chat.id).map(\.id) == [owner.id, member.id])
            #expect(try await store.access(to: chat.id, of: member.id)?.role == .member)
            for deed in [
                { try await store.deleteChat(chat.id, by: member.id, now: now) },
                {
                    _ = try await store.update(
                        chat.id, ChatChange(name: "x"), by: member.id, now: now)
                },
                {
                    try await store.addUser(
                        UserReference("owner"), to: chat.id, by: member.id, now: now)
                },
                {
                    try await store.removeUser(
                        UserReference("owner"), from: chat.id, by: member.id, now: now)
                },
            ] {
                await #expect(throws: Failure.notOwner("chat")) { try await deed() }
            }
            try await store.removeUser(
                UserReference("member"), from: chat.id, by: member.id, now: now)
            #expect(try await store.access(to: chat.id, of: member.id) == nil)
            let revocations = try await store.revocations(after: 0).map(\.revocation)
            #expect(revocations == [Revocation(user: member.id, chat: chat.id)])
            let refusal = await #expect(throws: Failure.self) {
                try await store.removeUser(
                    UserReference("owner"), from: chat.id, by: owner.id, now: now)
            }
            #expect(refusal?.code == .invalidRequest)
        }
    }

    @Test(arguments: Engine.allCases)
    func `the list has the user's own chats, those it was added to and those of its groups`(
        on engine: Engine
    )
        async throws
    {
        let place = try await Place(engine)
        try await place.with { storage in
            let store = storage.store
            let asim = try await storage.addUser("asim").user
            let other = try await storage.addUser("other").user
            let group = makeGroup(of: other.id)
            try await store.create(group)
            try await store.addMembers(
                [UserReference("asim")], to: group.id, by: other.id, now: now)
            let own = makeChat(of: asim.id)
            let joined = makeChat(of: other.id)
            let foreign = makeChat(of: other.id)
            let ofGroup = makeChat(of: other.id, in: group.id)
            let ownOfGroup = makeChat(of: asim.id, in: group.id)
            for chat in [own, joined, foreign, ofGroup, ownOfGroup] { try await store.create(chat) }
            try await store.addUser(UserReference("asim"), to: joined.id, by: other.id, now: now)
            // In by two ways, and listed once.
            try await store.addUser(UserReference("asim"), to: ofGroup.id, by: other.id, now: now)
            let all = try await store.chats(of: asim.id, in: nil, Page())
            #expect(all.elements.map(\.id) == [own.id, joined.id, ofGroup.id, ownOfGroup.id])
            let some = try await store.chats(of: asim.id, in: group.id, Page())
            #expect(some.elements.map(\.id) == [ofGroup.id, ownOfGroup.id])
            #expect(try await store.chats(of: other.id, in: nil, Page()).elements.count == 4)
        }
    }

    @Test(arguments: Engine.allCases)
    func `pages follow one another in both directions`(
        on engine: Engine
    ) async throws {
        let place = try await Place(engine)
        try await place.with { storage in
            let store = storage.store
            let asim = try await storage.addUser("asim").user
            let chats = (0..<7).map { _ in makeChat(of: asim.id) }
            for chat in chats { try await store.create(chat) }
            func page(_ place: Page.Place) async throws -> ([Int], Bool) {
                let listing = try await store.chats(
                    of: asim.id, in: nil, Page(limit: 3, place: place))
                let places = listing.elements.compactMap { chat in
                    chats.firstIndex { $0.id == chat.id }
                }
                return (places, listing.hasMore)
            }
            #expect(try await page(.newest) == ([4, 5, 6], true))
            #expect(try await page(.before(chats[4].id.text)) == ([1, 2, 3], true))
            #expect(try await page(.before(chats[1].id.text)) == ([0], false))
            #expect(try await page(.after(chats[1].id.text)) == ([2, 3, 4], true))
            #expect(try await page(.after(chats[4].id.text)) == ([5, 6], false))
            let other = try await storage.addUser("other").user
            let foreign = makeChat(of: other.id)
            try await store.create(foreign)
            for anchor in [foreign.id.text, "nothing"] {
                let refusal = await #expect(throws: Failure.self) {
                    _ = try await page(.before(anchor))
                }
                #expect(refusal?.parameter == "before")
            }
        }
    }

    @Test(arguments: Engine.allCases)
    func `long messages of a deleted chat go a few at a time`(
        on engine: Engine
    ) async throws {
        let place = try await Place(engine)
        try await place.with { storage in
            let asim = try await storage.addUser("asim").user
            let chat = makeChat(of: asim.id)
            try await storage.store.create(chat)
            let prompt = String(repeating: "x", count: 128 * 1024)
            try await storage.addMessages(100, to: chat, of: asim.id, prompt: prompt)
            try await storage.store.deleteChat(chat.id, by: asim.id, now: now)
            #expect(
                try await storage.number("SELECT COUNT(*) AS number FROM messages")
                    >= (engine == .sqlite ? 80 : 30))
            while try await !storage.lease.expire() {}
            #expect(try await storage.number("SELECT COUNT(*) AS number FROM messages") == 0)
        }
    }

    @Test(arguments: Engine.allCases)
    func `a deleted chat is gone at once and its messages soon`(
        on engine: Engine
    ) async throws {
        let place = try await Place(engine)
        try await place.with { storage in
            let store = storage.store
            let asim = try await storage.addUser("asim").user
            let chat = makeChat(of: asim.id)
            try await store.create(chat)
            try await storage.addMessages(1200, to: chat, of: asim.id)
            try await store.deleteChat(chat.id, by: asim.id, now: now)
            #expect(try await store.access(to: chat.id, of: asim.id) == nil)
            let left = try await storage.number("SELECT COUNT(*) AS number FROM messages")
            #expect(left < 1200 && left >= 200)
            while try await !storage.lease.expire() {}
            #expect(try await storage.number("SELECT COUNT(*) AS number FROM messages") == 0)
            #expect(try await storage.number("SELECT COUNT(*) AS number FROM deleted_chats") == 0)
            #expect(try await store.revocations(after: 0).map(\.revocation.chat) == [chat.id])
        }
    }
}

@Suite struct GroupTests {
    @Test(arguments: Engine.allCases)
    func `a group is visible to its members alone, its owner first among them`(
        on engine: Engine
    ) async throws {
        let place = try await Place(engine)
        try await place.with { storage in
            let store = storage.store
            let owner = try await storage.addUser("owner").user
            let other = try await storage.addUser("other").user
            let group = makeGroup(of: owner.id)
            try await store.create(group)
            #expect(try await store.group(group.id, for: owner.id) == group)
            #expect(try await store.group(group.id, for: other.id) == nil)
            #expect(try await store.members(of: group.id, Page()).elements.map(\.id) == [owner.id])
            #expect(try await store.groups(of: owner.id, Page()).elements == [group])
            #expect(try await store.groups(of: other.id, Page()).elements.isEmpty)
        }
    }

    @Test(arguments: Engine.allCases)
    func `members are added and removed all or none`(
        on engine: Engine
    ) async throws {
        let place = try await Place(engine)
        try await place.with { storage in
            let store = storage.store
            let owner = try await storage.addUser("owner").user
            let users = try await [storage.addUser("one").user, storage.addUser("two").user]
            let group = makeGroup(of: owner.id)
            try await store.create(group)
            func count() async throws -> Int {
                try await store.members(of: group.id, Page()).elements.count
            }
            let refusal = await #expect(throws: Failure.self) {
                try await store.addMembers(
                    [UserReference("one"), UserReference("nobody")], to: group.id, by: owner.id,
                    now: now)
            }
            #expect(refusal?.code == .notFound && refusal?.parameter == "user_ids")
            #expect(try await count() == 1)
            try await store.addMembers(
                [UserReference("one"), UserReference(users[1].id.text)], to: group.id,
                by: owner.id, now: now)
            #expect(try await count() == 3)
            await #expect(throws: Failure.notOwner("group")) {
                try await store.removeMembers(
                    [UserReference("one"), UserReference("two")], from: group.id,
                    by: users[0].id, now: now)
            }
            #expect(try await count() == 3)
            let owners = await #expect(throws: Failure.self) {
                try await store.removeMembers(
                    [UserReference("one"), UserReference("owner")], from: group.id, by: owner.id,
                    now: now)
            }
            #expect(owners?.code == .invalidRequest)
            #expect(try await count() == 3)
        }
    }

    @Test(arguments: Engine.allCases)
    func `a group is handed on to a member`(
        on engine: Engine
    ) async throws {
        let place = try await Place(engine)
        try await place.with { storage in
            let store = storage.store
            let owner = try await storage.addUser("owner").user
            let newOwner = try await storage.addUser("newOwner").user
            let group = makeGroup(of: owner.id)
            try await store.create(group)
            let change = GroupChange(owner: UserReference("newOwner"))
            let refusal = await #expect(throws: Failure.self) {
                _ = try await store.update(group.id, change, by: owner.id, now: now)
            }
            #expect(refusal?.parameter == "owner_id")
            try await store.addMembers(
                [UserReference("newOwner")], to: group.id, by: owner.id, now: now)
            let handedOn = try await store.update(group.id, change, by: owner.id, now: now)
            #expect(handedOn.ownerID == newOwner.id)
            await #expect(throws: Failure.notOwner("group")) {
                try await store.deleteGroup(group.id, by: owner.id, now: now)
            }
            try await store.removeMembers(
                [UserReference("owner")], from: group.id, by: owner.id, now: now)
            #expect(try await store.group(group.id, for: owner.id) == nil)
        }
    }

    @Test(arguments: Engine.allCases)
    func `a deleted group takes its chats along`(
        on engine: Engine
    ) async throws {
        let place = try await Place(engine)
        try await place.with { storage in
            let store = storage.store
            let owner = try await storage.addUser("owner").user
            let group = makeGroup(of: owner.id)
            try await store.create(group)
            let chats = [makeChat(of: owner.id, in: group.id), makeChat(of: owner.id)]
            for chat in chats { try await store.create(chat) }
            try await store.deleteGroup(group.id, by: owner.id, now: now)
            #expect(try await store.access(to: chats[0].id, of: owner.id) == nil)
            #expect(try await store.access(to: chats[1].id, of: owner.id) != nil)
            while try await !storage.lease.expire() {}
            #expect(try await storage.number("SELECT COUNT(*) AS number FROM deleted_chats") == 0)
        }
    }
}
