internal import EventLoop
internal import ProxyGPT
internal import Synchronization
internal import TestSupport
internal import Testing

@testable internal import SQLStorage

@Suite struct TransactionTests {
    private struct Refusal: Error {}

    @Test func `a transaction that throws rolls back alone while its batch commits`() async throws {
        let place = try Place()
        let steps = Steps()
        var tuning = SQLStorage.Tuning()
        tuning.observe = { steps.append($0) }
        try await place.with(tuning: tuning) { storage in
            _ = try await storage.addUser("somebody")
            let obstacle = try Obstacle(place)
            steps.clear()
            async let results = concurrently(9) { index in
                try await storage.database.transaction { transaction in
                    try await transaction.execute(
                        """
                        INSERT INTO login_failures (key, count, last_at)
                        VALUES (\("key\(index)"), 1, 0)
                        """)
                    if index % 3 == 1 { throw Refusal() }
                    if index % 3 == 2 {
                        try await transaction.execute(
                            "INSERT INTO login_failures (key, count, last_at) VALUES ('key0', 1, 0)"
                        )
                    }
                }
            }
            defer { obstacle.remove() }
            try await obstacle.isMet()
            try await eventually { storage.events.waitingTransactions == 9 }
            obstacle.remove()
            for (index, result) in await results.enumerated() {
                switch (index % 3, result) {
                case (0, .success): break
                case (1, .failure(let error)): #expect(error is Refusal)
                case (2, .failure(let error)):
                    #expect((error as? DatabaseError)?.kind == .uniqueViolation)
                default: Issue.record("\(index): \(result)")
                }
            }
            #expect(steps.count(of: .committed) == 1, "all nine were in one group")
            let rows = try await storage.database.query(
                "SELECT key FROM login_failures ORDER BY key")
            #expect(try rows.map { try $0.text("key") } == ["key0", "key3", "key6"])
        }
    }

    @Test(arguments: Engine.allCases)
    func `the result of a transaction is committed and seen by the next read`(
        on engine: Engine
    ) async throws {
        let place = try await Place(engine)
        try await place.with { storage in
            for index in 0..<50 {
                let count = try await storage.database.transaction { transaction in
                    try await transaction.execute(
                        """
                        INSERT INTO login_failures (key, count, last_at)
                        VALUES (\("\(index)"), 1, 0)
                        """)
                    return try await transaction.query(
                        "SELECT COUNT(*) AS number FROM login_failures"
                    ).first?.integer("number")
                }
                #expect(count == Int64(index + 1))
                #expect(
                    try await storage.number("SELECT COUNT(*) AS number FROM login_failures")
                        == Int64(index + 1))
            }
        }
    }

    @Test func `a body that waits for something else is rolled back and delays no other`()
        async throws
    {
        let place = try Place()
        try await place.with { storage in
            let afterwards = Mutex<(any Error)?>(nil)
            let hasEnded = Atomic(false)
            let error = await #expect(throws: DatabaseError.self) {
                try await storage.database.transaction { transaction in
                    try await transaction.execute(
                        "INSERT INTO login_failures (key, count, last_at) VALUES ('a', 1, 0)")
                    // Itself a transaction: waiting for it here would wait for ever.
                    try await storage.write(
                        "INSERT INTO login_failures (key, count, last_at) VALUES ('b', 1, 0)")
                    do {
                        try await transaction.execute(
                            "INSERT INTO login_failures (key, count, last_at) VALUES ('c', 1, 0)")
                    } catch {
                        afterwards.withLock { $0 = error }
                    }
                    hasEnded.store(true, ordering: .sequentiallyConsistent)
                }
            }
            #expect(error?.kind == .suspended)
            try await eventually { hasEnded.load(ordering: .sequentiallyConsistent) }
            #expect((afterwards.withLock { $0 } as? DatabaseError)?.kind == .closed)
            let rows = try await storage.database.query("SELECT key FROM login_failures")
            #expect(try rows.map { try $0.text("key") } == ["b"])
        }
    }

    @Test(arguments: Engine.allCases)
    func `a body may yield`(
        on engine: Engine
    ) async throws {
        let place = try await Place(engine)
        try await place.with { storage in
            let value = try await storage.database.transaction { transaction in
                await Task.yield()
                return try await transaction.query("SELECT 1 AS number").first?.integer("number")
            }
            #expect(value == 1)
        }
    }

    @Test func `a transaction kept beyond its end answers with an error`() async throws {
        let place = try Place()
        try await place.with { storage in
            let kept = Mutex<SQLiteTransaction?>(nil)
            try await storage.database.transaction { transaction in
                let transaction = transaction as? SQLiteTransaction
                kept.withLock { $0 = transaction }
            }
            let transaction = try #require(kept.withLock { $0 })
            let error = #expect(throws: DatabaseError.self) { try transaction.query("SELECT 1") }
            #expect(error?.kind == .closed)
        }
    }

    @Test func `a read that throws half-way holds no snapshot`() async throws {
        let place = try Place()
        try await place.with { storage in
            _ = try await storage.addUser("first")
            let error = await #expect(throws: DatabaseError.self) {
                try await storage.database.query(
                    """
                    SELECT abs(n) FROM users,
                        (SELECT 1 AS n UNION ALL SELECT -9223372036854775807 - 1)
                    """)
            }
            #expect(error?.description.contains("integer overflow") == true)
            _ = try await storage.addUser("second")
            let connection = try SQLiteConnection(file: place.file, role: .writer)
            let (pages, copied) = try connection.checkpoint()
            #expect(pages > 0 && copied == pages, "a snapshot holds the WAL back")
        }
    }

    @Test(arguments: Engine.allCases)
    func `after the end everything is refused`(
        on engine: Engine
    ) async throws {
        let place = try await Place(engine)
        let storage = try await place.open()
        await storage.close()
        await storage.close()
        let errors = [
            await #expect(throws: DatabaseError.self) { try await storage.addUser("asim") },
            await #expect(throws: DatabaseError.self) {
                try await storage.store.login(foldedName: "asim")
            },
            await #expect(throws: DatabaseError.self) {
                try await storage.events.close(closed(makeEvent()))
            },
        ]
        #expect(errors.allSatisfy { $0?.kind == .closed })
    }
}

/// What writers told, in order.
final class Steps: Sendable {
    private let steps = Mutex<[Writer.Step]>([])

    func append(_ step: Writer.Step) { steps.withLock { $0.append(step) } }
    func clear() { steps.withLock { $0.removeAll() } }
    var all: [Writer.Step] { steps.withLock { $0 } }
    func count(of step: Writer.Step) -> Int { all.filter { $0 == step }.count }
}
