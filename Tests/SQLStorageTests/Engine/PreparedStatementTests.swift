internal import EventLoop
internal import Testing

@testable internal import SQLStorage

/// Statements that could not be prepared, or not be let go.
@Suite struct PreparedStatementTests {
    @Test func `a statement that cannot be prepared harms no caller that sends it right behind`()
        async throws
    {
        let place = try await Place(.postgreSQL)
        try await place.connected { connection in
            for statement in ["SELECT * FROM nowhere", "SELECT 1 / 0"] {
                let results = await connection.batches(Array(repeating: [statement], count: 3))
                for result in results {
                    #expect(result.failure?.kind == .other, "\(statement)")
                }
                #expect(connection.failure == nil)
            }
            let rows = try await connection.run(
                [PostgresStatement("SELECT 1 AS one")], within: 9000)
            #expect(try rows.first?.rows.first?.integer("one") == 1)
        }
    }

    @Test func `one that is used before it is confirmed works each time`() async throws {
        let place = try await Place(.postgreSQL)
        try await place.connected { connection in
            for _ in 0..<2 {
                for result in await connection.batches(Array(repeating: ["SELECT 1"], count: 20)) {
                    #expect(result.failure == nil)
                }
            }
        }
    }

    @Test func `a statement that was not let go, for something else failed, is let go later`()
        async throws
    {
        let place = try await Place(.postgreSQL)
        try await place.connected { connection in
            for number in 0..<PreparedStatements.limit {
                _ = try await connection.run(
                    [PostgresStatement("SELECT \(number) AS number")], within: 9000)
            }
            for number in 0..<50 {
                // What fails passes over all that is sent behind it, the farewell to another too.
                let results = await connection.batches([["SELECT 1 / 0", "SELECT 'x\(number)'"]])
                #expect(results.first?.failure?.kind == .other)
            }
            for number in 0..<10 {
                _ = try await connection.run(
                    [PostgresStatement("SELECT 'y\(number)'")], within: 9000)
            }
            let answers = try await connection.run(
                [PostgresStatement("SELECT COUNT(*) AS number FROM pg_prepared_statements")],
                within: 9000)
            let count = try answers.first?.rows.first?.integer("number") ?? -1
            #expect(count <= Int64(PreparedStatements.limit))
            #expect(connection.failure == nil)
        }
    }
}

extension Place {
    /// Runs `body` with one connection to the PostgreSQL database.
    @EventLoop fileprivate func connected(
        _ body: @EventLoop (PostgresConnection) async throws -> Void
    ) async throws {
        let address = try configuration().address
        let handle = try await connector.run { try PostgresHandle.connect(address) }
        let connection = try PostgresConnection(handle)
        defer { connection.close() }
        try await body(connection)
    }
}

private let connector = ThreadPool(name: "connector", threads: 1, capacity: 100)

extension Result {
    fileprivate var failure: Failure? {
        if case .failure(let error) = self { error } else { nil }
    }
}

extension PostgresConnection {
    /// Sends batches one right behind the other, and returns what came of each.
    fileprivate func batches(
        _ batches: [[String]]
    ) async -> [Result<[PostgresAnswer], DatabaseError>] {
        await withUnsafeContinuation { continuation in
            var results: [Result<[PostgresAnswer], DatabaseError>] = []
            for batch in batches {
                submit(batch.map { PostgresStatement($0) }, within: 9000) { result in
                    results.append(result)
                    if results.count == batches.count { continuation.resume(returning: results) }
                }
            }
        }
    }
}
