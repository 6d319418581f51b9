internal import ProxyGPT
internal import Testing

@testable internal import SQLStorage

@Suite struct SQLTests {
    @Test func `values are bound in order and never pasted`() {
        let name = "'; DROP TABLE users --"
        let absent: String? = nil
        let sql: SQL = "SELECT \(name), \(7), \(absent), \([1, 2] as [UInt8])"
        #expect(sql.text == "SELECT $1, $2, $3, $4")
        #expect(sql.values == [.text(name), .integer(7), .null, .blob([1, 2])])
    }

    @Test func `a list binds each of its elements, and an empty one matches nothing`() {
        let sql: SQL = "a = \(1) AND b IN (\(list: ["x", "y"])) AND c = \(2)"
        #expect(sql.text == "a = $1 AND b IN ($2, $3) AND c = $4")
        let none: SQL = "b IN (\(list: [String]()))"
        #expect(none.text == "b IN (NULL)")
        #expect(none.values.isEmpty)
    }

    @Test func `printing a statement shows no value`() {
        let sql: SQL = "SELECT \("secret")"
        var dumped = ""
        dump(sql, to: &dumped)
        for text in ["\(sql)", String(reflecting: sql), dumped] {
            #expect(!text.contains("secret"))
            #expect(text.contains("SELECT $1"))
        }
    }

    @Test func `a row of another shape is an error that names the column, not its content`() {
        let row = Row(columns: ["a", "b"], values: [.text("secret"), .null])
        #expect(throws: RowError(column: "a", expected: "an integer", found: "text")) {
            try row.integer("a")
        }
        #expect(throws: RowError(column: "b", expected: "text", found: "null")) {
            try row.text("b")
        }
        #expect(throws: RowError(column: "c", expected: "a column", found: "none of that name")) {
            try row.blob("c")
        }
    }

    @Test(arguments: Engine.allCases)
    func `bound values come back the same`(
        on engine: Engine
    ) async throws {
        let place = try await Place(engine)
        try await place.with { storage in
            // PostgreSQL refuses the null character, which nobody stores; see PostgresTests.
            let text = engine == .sqlite ? "naïve \u{0}\u{1F600}" : "naïve \u{1}\u{1F600}"
            let bytes: [UInt8] = [0, 255, 0]
            let empty = ""
            let nothing: [UInt8] = []
            let rows = try await storage.database.query(
                """
                SELECT \(text) AS a, \(bytes) AS b, \(Int64.min) AS c, \(empty) AS d,
                    \(nothing) AS e, \(Int64?.none) AS f
                """)
            let row = try #require(rows.first)
            #expect(try row.text("a") == text)
            #expect(try row.blob("b") == bytes)
            #expect(try row.value("c") == .integer(Int64.min))
            #expect(try row.text("d").isEmpty)
            #expect(try row.blob("e").isEmpty)
            #expect(try row.optionalInteger("f") == nil)
        }
    }

    @Test func `a refused statement shows its text and no value`() async throws {
        let place = try Place()
        try await place.with { storage in
            let error = await #expect(throws: DatabaseError.self) {
                try await storage.database.query("SELECT a FROM nowhere WHERE x = \("secret")")
            }
            let text = try #require(error).description
            #expect(text.contains("no such table: nowhere"))
            #expect(!text.contains("secret"))
        }
    }

    @Test func `the loop's connection refuses to write`() async throws {
        let place = try Place()
        try await place.with { storage in
            await #expect(throws: DatabaseError.self) {
                try await storage.database.query("DELETE FROM users")
            }
        }
    }

    @Test func `numbers are cut down to 53 bits, and sequence numbers beyond are refused`() throws {
        func row(_ number: Int64) -> Row { Row(columns: ["n"], values: [.integer(number)]) }
        for number in [0, 1, -1, 1 << 53, -(1 << 53)] as [Int64] {
            #expect(try row(number).integer("n") == number)
        }
        #expect(try row(.max).integer("n") == 1 << 53)
        #expect(try row(.min).optionalInteger("n") == -(1 << 53))
        #expect(try row(.max).timestamp("n").milliseconds == 1 << 53)
        #expect(try row(1 << 53 - 1).sequence("n") == 1 << 53 - 1)
        for number in [-1, 1 << 53, .max, .min] as [Int64] {
            #expect(throws: RowError.self) { try row(number).sequence("n") }
        }
    }

    @Test func `a value of another release is the weakest known, and is logged once`() throws {
        let column = "column of this test"
        let row = Row(columns: [column], values: [.text("auditor")])
        for _ in 0..<3 { #expect(try row.word(column, or: User.Role.user) == .user) }
        #expect(UnknownWords.shared.take().filter { $0 == "\(column) auditor" }.count == 1)
        #expect(UnknownWords.shared.take().allSatisfy { !$0.hasPrefix(column) })
    }
}
