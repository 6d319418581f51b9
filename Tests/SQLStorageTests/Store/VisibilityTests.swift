internal import ProxyGPT
internal import Synchronization
internal import TestSupport
internal import Testing

@testable internal import SQLStorage

/// Which users see each other. Of four users each test gives two something in common.
@Suite struct VisibilityTests {
    private struct People {
        let storage: SQLStorage
        let anna: User
        let ben: User
        let carl: User

        func see(_ one: User, _ other: User) async throws -> Bool {
            let forth = try await storage.store.user(other.id, visibleTo: one.id)
            let back = try await storage.store.user(one.id, visibleTo: other.id)
            #expect((forth == nil) == (back == nil), "seeing is mutual")
            if let forth { #expect(forth == other) }
            return forth != nil
        }

        func group(_ id: String, owner: User, members: [User]) async throws {
            let seq = try await storage.number("SELECT COUNT(*) AS number FROM groups")
            try await storage.write(
                """
                INSERT INTO groups (id, seq, name, description, owner_id, created_at, updated_at)
                VALUES (\(id), \(seq), 'g', '', \(owner.id), \(now), \(now))
                """)
            for member in members {
                try await storage.write(
                    """
                    INSERT INTO group_members (group_id, user_id, created_at)
                    VALUES (\(id), \(member.id), \(now))
                    """)
            }
        }

        func chat(_ id: String, owner: User, group: String? = nil, users: [User] = []) async throws
        {
            let seq = try await storage.number("SELECT COUNT(*) AS number FROM chats")
            try await storage.write(
                """
                INSERT INTO chats (id, seq, name, model, user_id, group_id, created_at, updated_at)
                VALUES (\(id), \(seq), 'c', 'm', \(owner.id), \(group), \(now), \(now))
                """)
            for user in users {
                try await storage.write(
                    """
                    INSERT INTO chat_users (chat_id, user_id, created_at, seq, owner_id, group_id)
                    SELECT id, \(user.id), \(now), seq, user_id, group_id FROM chats WHERE id = \(id)
                    """)
            }
        }
    }

    private func withPeople(on engine: Engine, _ body: (People) async throws -> Void) async throws {
        let place = try await Place(engine)
        try await place.with { storage in
            try await body(
                People(
                    storage: storage, anna: storage.addUser("anna").user,
                    ben: storage.addUser("ben").user, carl: storage.addUser("carl").user))
        }
    }

    @Test(arguments: Engine.allCases)
    func `a user sees itself and no stranger`(
        on engine: Engine
    ) async throws {
        try await withPeople(on: engine) { (people) async throws in
            #expect(try await people.see(people.anna, people.anna))
            #expect(try await !people.see(people.anna, people.ben))
            let nobody = User.ID("nobody")
            #expect(
                try await people.storage.store.user(nobody, visibleTo: people.anna.id) == nil)
        }
    }

    @Test(arguments: Engine.allCases)
    func `members of a group and its owner see each other`(
        on engine: Engine
    ) async throws {
        try await withPeople(on: engine) { (people) async throws in
            try await people.group("g", owner: people.carl, members: [people.anna, people.ben])
            #expect(try await people.see(people.anna, people.ben))
            #expect(try await people.see(people.anna, people.carl))
        }
    }

    @Test(arguments: Engine.allCases)
    func `a chat's owner and its users see each other`(
        on engine: Engine
    ) async throws {
        try await withPeople(on: engine) { (people) async throws in
            try await people.chat("c", owner: people.carl, users: [people.anna, people.ben])
            #expect(try await people.see(people.anna, people.ben))
            #expect(try await people.see(people.anna, people.carl))
        }
    }

    @Test(arguments: Engine.allCases)
    func `users of a group's chat and the group's members see each other`(
        on engine: Engine
    ) async throws {
        try await withPeople(on: engine) { (people) async throws in
            try await people.group("g", owner: people.carl, members: [people.anna])
            try await people.chat("c", owner: people.anna, group: "g", users: [people.ben])
            #expect(try await people.see(people.anna, people.ben))
            #expect(try await people.see(people.ben, people.carl))
        }
    }

    @Test(arguments: Engine.allCases)
    func `a user that made a group's chat and left the group is a stranger`(
        on engine: Engine
    ) async throws {
        try await withPeople(on: engine) { (people) async throws in
            try await people.group("g", owner: people.carl, members: [people.ben])
            try await people.chat("c", owner: people.anna, group: "g", users: [people.carl])
            #expect(try await !people.see(people.anna, people.ben))
            #expect(try await !people.see(people.anna, people.carl))
        }
    }

    @Test(arguments: Engine.allCases)
    func `sight ends with the row it rests on`(
        on engine: Engine
    ) async throws {
        try await withPeople(on: engine) { (people) async throws in
            try await people.chat("c", owner: people.anna, users: [people.ben])
            #expect(try await people.see(people.anna, people.ben))
            try await people.storage.write("DELETE FROM chat_users")
            #expect(try await !people.see(people.anna, people.ben))
            try await people.group("g", owner: people.carl, members: [people.anna, people.ben])
            try await people.storage.write(
                "DELETE FROM group_members WHERE user_id = \(people.ben.id)")
            #expect(try await !people.see(people.anna, people.ben))
        }
    }

    @Test(arguments: Engine.allCases)
    func `users of many chats see each other where one chat has both`(
        on engine: Engine
    ) async throws {
        try await withPeople(on: engine) { (people) async throws in
            // More than one statement compares.
            try await people.storage.addChats(800, of: people.carl.id) { number in
                number % 2 == 0 ? people.anna.id : people.ben.id
            }
            #expect(try await !people.see(people.anna, people.ben))
            try await people.storage.write(
                """
                INSERT INTO chat_users (chat_id, user_id, created_at, seq, owner_id, group_id)
                SELECT id, \(people.ben.id), \(now), seq, user_id, group_id FROM chats
                WHERE seq IN (SELECT MIN(seq) FROM chat_users WHERE seq > 700
                    AND user_id = \(people.anna.id))
                """)
            #expect(try await people.see(people.anna, people.ben))
            // A chat that is deleted with its owner is no common one.
            try await people.storage.write(
                "INSERT INTO deletions (id, kind) VALUES (\(people.carl.id), 'user')")
            #expect(try await !people.see(people.anna, people.ben))
        }
    }

    @Test(arguments: Engine.allCases)
    func `a user's groups come oldest first`(
        on engine: Engine
    ) async throws {
        try await withPeople(on: engine) { (people) async throws in
            try await people.group("z", owner: people.anna, members: [people.anna])
            try await people.group("m", owner: people.anna, members: [people.ben])
            try await people.group("a", owner: people.ben, members: [people.anna, people.ben])
            #expect(try await people.storage.store.groups(of: people.anna.id) == ["z", "a"])
            #expect(try await people.storage.store.groups(of: people.carl.id).isEmpty)
        }
    }

    @Test(arguments: [nil, "g"])
    func `PostgreSQL reads no whole table where all chat users are of one kind`(
        group: String?
    ) async throws {
        try await withPeople(on: .postgreSQL) { (people) async throws in
            let (anna, ben, carl) = (people.anna, people.ben, people.carl)
            try await people.group("g", owner: carl, members: [carl])
            try await people.group("h", owner: ben, members: [ben])
            let numbers: SQL = "FROM generate_series(1, 20000) AS number"
            try await people.storage.write(
                """
                INSERT INTO chats (id, seq, name, model, user_id, group_id, created_at, updated_at)
                SELECT 'c' || number, number, 'c', 'm', \(carl.id), \(group), \(now), \(now) \(numbers)
                """)
            try await people.storage.write(
                """
                INSERT INTO chat_users (chat_id, user_id, created_at, seq, owner_id, group_id)
                SELECT 'c' || number, \(anna.id), \(now), number, \(carl.id), \(group) \(numbers)
                """)
            try await people.storage.write("ANALYZE chat_users")
            #expect(try await people.see(anna, carl))
            #expect(try await !people.see(anna, ben))
            let explaining = Explaining(people.storage.database)
            let store = SQLStore(explaining, process: "p")
            for (one, other) in [(anna, ben), (ben, anna), (anna, carl), (carl, anna)] {
                _ = try await store.user(other.id, visibleTo: one.id)
            }
            let plans = explaining.lines.withLock { $0 }
            #expect(plans.contains { $0.contains("chat_users_of_owner") })
            #expect(!plans.contains { $0.contains("Seq Scan on chat_users") })
        }
    }
}

/// A database that tells how it would answer, instead of doing so.
private final class Explaining: Database {
    private let database: any Database
    let lines = Mutex<[String]>([])

    init(_ database: any Database) {
        self.database = database
    }

    var dialect: Dialect { database.dialect }

    func query(_ sql: SQL) async throws -> [Row] {
        let rows = try await database.query("EXPLAIN \(sql)")
        let plan = try rows.map { try $0.text("QUERY PLAN") }
        lines.withLock { $0 += plan }
        return []
    }

    func transaction<T: Sendable>(
        _ body: @Sendable @escaping (any Transaction) async throws -> T
    ) async throws -> T {
        try await database.transaction(body)
    }
}
