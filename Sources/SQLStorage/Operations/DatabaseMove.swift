// A grown installation moves from SQLite to PostgreSQL.
//
// Tables are copied one after the other in the order of their keys, a batch a transaction: so after
// an interruption the newest key in the target shows where to go on. In the end both sides are read
// again and compared row by row; only then the new database may be used. No process may have the
// old one open meanwhile, and it stays as it is. Called by the operator's commands.

internal import EventLoop
package import Logging
package import ProxyGPT

/// Copies everything from a SQLite file to PostgreSQL.
package struct DatabaseMove {
    /// The result of a move.
    package struct Report: Sendable {
        /// The tables and how many rows of each were compared.
        package var tables: [(name: String, rows: Int)] = []
    }

    /// The progress: a table, the number of its rows that are done, and whether they are being
    /// compared.
    package typealias Progress = @EventLoop (_ table: String, _ rows: Int, _ compares: Bool) -> Void

    /// A table and the columns that identify its rows; tables come in the order in which rows refer
    /// to one another.
    struct Table: Sendable {
        let name: String
        let key: [String]

        /// Whether null characters become U+FFFD on the way, as where PostgreSQL is written to at once.
        ///
        /// Events contain text from callers as it came; every other text was checked before it was
        /// stored.
        var isCleaned: Bool { name == "events" }

        static let all = [
            Table(name: "users", key: ["id"]), Table(name: "sessions", key: ["id"]),
            Table(name: "login_failures", key: ["key"]), Table(name: "groups", key: ["id"]),
            Table(name: "group_members", key: ["group_id", "user_id"]),
            Table(name: "chats", key: ["id"]),
            Table(name: "chat_users", key: ["chat_id", "user_id"]),
            Table(name: "messages", key: ["id"]), Table(name: "deleted_chats", key: ["id"]),
            Table(name: "deletions", key: ["id"]),
            Table(name: "revocations", key: ["seq"]), Table(name: "counters", key: ["name"]),
            Table(name: "usage_days", key: ["day", "user_id", "model", "has_model"]),
            Table(name: "usage_progress", key: ["id"]),
            Table(name: "events", key: ["id"]), Table(name: "event_bodies", key: ["id"]),
        ]
        /// Tables that have rows in a new database: counters at zero, and events of operators'
        /// commands.
        static let fresh = ["counters", "events", "usage_progress"]
        /// Tables about a database itself.
        static let others = [
            "schema_migrations", "processes", "moves", "installation", "missed_ends",
        ]
    }

    private let source: SQLStorage
    private let target: SQLStorage
    private let clock: any Clock
    private let progress: Progress
    /// Of each table, as the program makes it: nothing of the file becomes part of a statement.
    private let columns: [String: [String]]

    private init(
        _ source: SQLStorage, _ target: SQLStorage, _ clock: any Clock,
        _ progress: @escaping Progress
    ) throws {
        let schema = try ReferenceSchema.newest()
        columns = try Dictionary(
            uniqueKeysWithValues: Table.all.map { ($0.name, try schema.columns(of: $0.name)) })
        self.source = source
        self.target = target
        self.clock = clock
        self.progress = progress
    }

    /// Copies the rows of `file` that are not yet in `target`, compares all rows, and makes
    /// `target` usable.
    ///
    /// - Parameter target: opened by a program that is no part of the service.
    /// - Throws: `MoveError`, or an error of opening. The next run goes on from there.
    @EventLoop package static func run(
        from file: String, to target: SQLStorage, identifiers: any IdentifierSource,
        clock: any Clock, logger: Logger, progress: @escaping Progress
    ) async throws -> Report {
        let path = try SQLStorage.existing(file, mayCreate: false)
        let life = try LockFile(SQLStorage.lifeLock(of: path))
        guard life.tryLock(.exclusive) else { throw MoveError.sourceIsInUse(file) }
        try check(path)
        let source = try SQLStorage.open(
            file: path, mayCreate: false,
            process: ProcessIdentity(id: identifiers.next(), host: "", bootID: ""), clock: clock,
            logger: logger, tuning: SQLStorage.Tuning(), life: life)
        do {
            let move = try DatabaseMove(source, target, clock, progress)
            let report = try await move.run(identifiers)
            await source.close()
            return report
        } catch {
            await source.close()
            throw error
        }
    }

    /// Throws where the file has another schema than this program's, before anything is written to
    /// it.
    private static func check(_ file: String) throws {
        let connection = try SQLiteConnection(file: file, role: .reader)
        let version = try connection.schemaVersion(file)
        try ReferenceSchema(version: version).check(connection, file)
    }

    @EventLoop private func run(_ identifiers: any IdentifierSource) async throws -> Report {
        try await closeWhatIsOpen()
        for table in Table.all where !table.isCleaned { try await findWhatCannotBe(table) }
        let name = try await identity(identifiers)
        try await begin(name)
        for table in Table.all { try await copy(table) }
        var report = Report()
        for table in Table.all { report.tables.append((table.name, try await compare(table))) }
        let now = clock.now()
        for database in [target.database, source.database] {
            _ = try await database.transaction { transaction in
                try await transaction.execute(
                    "UPDATE moves SET ended_at = \(now) WHERE source = \(name)")
            }
        }
        return report
    }

    // MARK: - Before

    /// Ends all open events and replies: no process runs a reply any more.
    private func closeWhatIsOpen() async throws {
        let now = clock.now()
        _ = try await source.database.transaction { transaction in
            try await transaction.execute("DELETE FROM processes")
            return try await transaction.reapExpiredProcesses([], now: now, if: "1 = 1")
        }
    }

    /// PostgreSQL's text holds every character but the null character.
    private func findWhatCannotBe(_ table: Table) async throws {
        let columns = columns(of: table)
        let condition = columns.map {
            "(typeof(\(quoted($0))) = 'text' AND instr(\(quoted($0)), char(0)) > 0)"
        }.joined(separator: " OR ")
        let sql: SQL = """
            SELECT \(unsafe: list(table.key)) FROM \(unsafe: table.name)
            WHERE \(unsafe: condition) LIMIT 1
            """
        guard let row = try await source.database.query(sql).first else { return }
        throw MoveError.hasNullCharacter(table.name, Self.name(of: row.values))
    }

    /// The name by which the target recognizes this source.
    private func identity(_ identifiers: any IdentifierSource) async throws -> String {
        let found = try await source.database.query("SELECT source FROM moves ORDER BY began_at")
        if let first = found.first { return try first.text("source") }
        let name = identifiers.next()
        let now = clock.now()
        _ = try await source.database.transaction { transaction in
            try await transaction.execute(
                "INSERT INTO moves (source, began_at) VALUES (\(name), \(now))")
        }
        return name
    }

    /// Takes an empty target, or the one that this move has begun with.
    private func begin(_ name: String) async throws {
        let now = clock.now()
        let moment = target.database.dialect.clock ?? "0"
        try await target.database.transaction { transaction in
            // Of two moves that begin at once the second one finds the first.
            try await transaction.lock("LOCK TABLE moves IN SHARE ROW EXCLUSIVE MODE")
            let living = try await transaction.query(
                """
                SELECT id FROM processes
                WHERE heartbeat > \(unsafe: moment) - \(ProcessLease.lifetime) LIMIT 1
                """)
            guard living.isEmpty else { throw MoveError.targetIsInUse }
            let moves = try await transaction.query("SELECT source, ended_at FROM moves")
            if let move = moves.first {
                guard try move.text("source") == name else { throw MoveError.targetIsAnothers }
                guard try move.optionalInteger("ended_at") == nil else {
                    throw MoveError.hasEnded
                }
                return
            }
            for table in Table.all where !Table.fresh.contains(table.name) {
                let sql: SQL = "SELECT 1 AS one FROM \(unsafe: table.name) LIMIT 1"
                guard try await transaction.query(sql).isEmpty else {
                    throw MoveError.targetIsNotEmpty(table.name)
                }
            }
            for table in Table.fresh {
                try await transaction.execute("DELETE FROM \(unsafe: table)")
            }
            // Entries in Redis under that name belong to the earlier content of this database.
            try await transaction.execute(SQL(unsafe: SQLStorage.renewal))
            try await transaction.execute(
                "INSERT INTO moves (source, began_at) VALUES (\(name), \(now))")
        }
    }

    // MARK: - Copying

    @EventLoop private func copy(_ table: Table) async throws {
        let columns = columns(of: table)
        let newest = descending(table)
        var reading = Reading(table, columns, after: try await target.database.query(newest).first)
        var count = 0
        while true {
            let rows = try await reading.next(from: source.database)
            if rows.isEmpty { break }
            try await target.database.transaction { transaction in
                for row in rows { try await transaction.send(insertion(table, columns, row)) }
            }
            count += rows.count
            progress(table.name, count, false)
        }
    }

    private func descending(_ table: Table) -> SQL {
        let order = table.key.map { "\(quoted($0)) DESC" }.joined(separator: ", ")
        return SQL(
            unsafe: "SELECT \(list(table.key)) FROM \(table.name) ORDER BY \(order) LIMIT 1")
    }

    // MARK: - Comparing

    /// Reads both sides in the same order; whatever is not the same on both is an error.
    @EventLoop private func compare(_ table: Table) async throws -> Int {
        let columns = columns(of: table)
        var here = Reading(table, columns, after: nil)
        var count = 0
        while true {
            let position = here.position
            let rows = try await here.next(from: source.database)
            let others = try await target.database.query(
                Reading.sql(table, columns, after: position, limit: max(rows.count, 1)))
            for (row, other) in zip(rows, others) where row.values != other.values {
                throw MoveError.differs(table.name, Self.name(of: here.key(of: row)))
            }
            guard rows.count == others.count else {
                let longer = rows.count > others.count ? rows : others
                let odd = longer[min(rows.count, others.count)]
                throw MoveError.differs(table.name, Self.name(of: here.key(of: odd)))
            }
            if rows.isEmpty { return count }
            count += rows.count
            progress(table.name, count, true)
        }
    }

    // MARK: - Statements

    private func columns(of table: Table) -> [String] { columns[table.name] ?? [] }

    /// A key for error messages.
    private static func name(of key: [SQLValue]) -> String {
        key.map {
            switch $0 {
            case .text(let text): text
            case .integer(let integer): "\(integer)"
            default: $0.kind
            }
        }.joined(separator: ", ")
    }
}

private func quoted(_ column: String) -> String { "\"\(column)\"" }

private func list(_ columns: [String]) -> String {
    columns.map(quoted).joined(separator: ", ")
}

private func insertion(_ table: DatabaseMove.Table, _ columns: [String], _ row: Row) -> SQL {
    let names = list(columns)
    return "INSERT INTO \(unsafe: table.name) (\(unsafe: names)) VALUES (\(list: row.values))"
}

/// Reads a table in the order of its key, a batch at a time.
private struct Reading {
    /// How many bytes a batch should have, and how many rows it may.
    private static let bytes = 1 << 20
    private static let rows = 1...2000

    private let table: DatabaseMove.Table
    private let columns: [String]
    private var limit = 100
    /// The key of the row that was read last; empty before the first.
    private(set) var position: [SQLValue]

    init(_ table: DatabaseMove.Table, _ columns: [String], after row: Row?) {
        self.table = table
        self.columns = columns
        position = row?.values ?? []
    }

    func key(of row: Row) -> [SQLValue] {
        table.key.compactMap { name in
            columns.firstIndex(of: name).map { row.values[$0] }
        }
    }

    mutating func next(from database: any Database) async throws -> [Row] {
        var rows = try await database.query(
            Self.sql(table, columns, after: position, limit: limit))
        let size = rows.reduce(1) { $0 + $1.size }
        let fitting = max(Self.rows.lowerBound, rows.count * Self.bytes / size)
        // Large rows after small ones: the rest of them comes with the next batch.
        if fitting < rows.count { rows.removeLast(rows.count - fitting) }
        if let last = rows.last { position = key(of: last) }
        limit = min(fitting, 4 * limit, Self.rows.upperBound)
        return table.isCleaned ? rows.map(\.cleaned) : rows
    }

    static func sql(
        _ table: DatabaseMove.Table, _ columns: [String], after key: [SQLValue], limit: Int
    ) -> SQL {
        let names = list(columns)
        let order = list(table.key)
        let condition: SQL =
            key.isEmpty ? "1 = 1" : "(\(unsafe: order)) > (\(list: key))"
        return """
            SELECT \(unsafe: names) FROM \(unsafe: table.name)
            WHERE \(condition) ORDER BY \(unsafe: order) LIMIT \(limit)
            """
    }
}

extension Row {
    fileprivate var cleaned: Row {
        Row(
            columns: columns,
            values: values.map { value in
                if case .text(let text) = value { return .text(PostgresParameters.cleaned(text)) }
                return value
            })
    }

    /// Roughly, in bytes.
    fileprivate var size: Int {
        values.reduce(0) { sum, value in
            switch value {
            case .text(let text): sum + text.utf8.count
            case .blob(let bytes): sum + bytes.count
            default: sum + 8
            }
        }
    }
}

/// The reason why a move cannot begin, go on or end.
package enum MoveError: Error, Equatable, CustomStringConvertible {
    case sourceIsInUse(String)
    case targetIsInUse
    case targetIsAnothers
    case targetIsNotEmpty(String)
    case hasEnded
    case hasNullCharacter(String, String)
    case differs(String, String)

    package var description: String {
        switch self {
        case .sourceIsInUse(let file): "\(file) is in use: stop the service first"
        case .targetIsInUse: "the service runs on the PostgreSQL database: stop it first"
        case .targetIsAnothers: "the PostgreSQL database is that of another installation"
        case .targetIsNotEmpty(let table):
            "the PostgreSQL database is not empty, there are \(table): use a new one"
        case .hasEnded: "this installation has been moved to the PostgreSQL database already"
        case .hasNullCharacter(let table, let key):
            "\(table) \(key) has a null character in a text, which PostgreSQL cannot hold"
        case .differs(let table, let key):
            "\(table) \(key) is not the same on both sides: "
                + "start again with a new PostgreSQL database"
        }
    }
}
