internal import ProxyGPT
internal import TestSupport
internal import Testing

@testable internal import SQLStorage

/// What `doctor` sees of a SQLite file, and in what time.
@Suite struct HealthTests {
    @Test func `a small database is looked at whole`() async throws {
        let place = try Place()
        try await place.with { _ = try await $0.addUser("asim") }
        let health = try DatabaseHealth.examine(place.file, statementLimit: 60_000)
        #expect(health.pages == .sound)
        #expect(health.otherSchema == nil && health.freeBytes >= 0)
    }

    @Test func `a check of a row of many pages ends at its time limit`() async throws {
        let place = try Place()
        try await place.with { storage in
            try await storage.write(
                "INSERT INTO event_bodies (id, request) VALUES ('a', zeroblob(67108864))")
        }
        // One instruction of SQLite's machine reads all pages of the row.
        guard
            case .soundSoFar(let whole, let others) = try DatabaseHealth.examine(
                place.file, statementLimit: 2
            ).pages
        else {
            Issue.record("it was looked at whole")
            return
        }
        #expect(others.contains("event_bodies"))
        #expect(
            (whole + others).sorted()
                == (DatabaseMove.Table.all.map(\.name)
                + DatabaseMove.Table.others).sorted())
        try #require(try DatabaseHealth.examine(place.file, statementLimit: 60_000).pages == .sound)
    }

    @Test func `a statement that ends by itself is not interrupted, nor is the next`() throws {
        let connection = try SQLiteConnection(file: ":memory:", role: .alone)
        let (rows, isWhole) = try connection.interrupting(after: 60_000) {
            () throws(DatabaseError) in try connection.query("SELECT 1 AS one")
        }
        #expect(rows?.count == 1 && isWhole)
        let endless: SQL = """
            WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT MAX(i) FROM n
            """
        let (none, wasWhole) = try connection.interrupting(after: 1) {
            () throws(DatabaseError) in try connection.query(endless)
        }
        #expect(none == nil && !wasWhole)
        #expect(try connection.query("SELECT 2 AS two").first?.integer("two") == 2)
    }

    @Test func `the WAL gives back the space beyond its limit`() throws {
        let place = try Place()
        let file = try SQLStorage.existing(place.file, mayCreate: true)
        let connection = try SQLiteConnection(file: file, role: .writer, durability: .normal)
        try connection.run("CREATE TABLE t (x)")
        let limit = SQLiteConnection.walLimit
        _ = try connection.execute("INSERT INTO t VALUES (zeroblob(\(limit + (4 << 20))))")
        #expect(place.size(of: "-wal") > limit)
        try connection.checkpoint()
        _ = try connection.execute("INSERT INTO t VALUES (1)")
        #expect(place.size(of: "-wal") <= limit)
    }
}
