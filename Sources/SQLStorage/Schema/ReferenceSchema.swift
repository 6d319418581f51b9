internal import Formats
internal import ProxyGPT

/// The schema as the program's own steps make it, in a database in memory: a file that comes from elsewhere is
/// held against it.
struct ReferenceSchema {
    /// An object of a schema: a table, an index, a trigger or a view.
    private struct Object {
        let kind: String
        let name: String
        let table: String
        let definition: String

        func isNamed(like other: Object) -> Bool {
            kind.hasSameBytes(as: other.kind) && name.hasSameBytes(as: other.name)
        }

        func isSame(as other: Object) -> Bool {
            isNamed(like: other) && table.hasSameBytes(as: other.table)
                && definition.hasSameBytes(as: other.definition)
        }
    }

    /// The most objects that are read of a file, and the most of each definition: more than ours
    /// have.
    private static let mostObjects: Int64 = 1000
    private static let longestDefinition: Int64 = 65_536

    private let connection: SQLiteConnection

    /// The schema of a version that this program knows.
    init(version: Int64) throws {
        connection = try SQLiteConnection(file: ":memory:", role: .alone)
        try Migrations.run(
            on: connection, Array(Migrations.all.prefix { $0.version <= version }))
    }

    /// The schema that this program works with.
    static func newest() throws -> ReferenceSchema {
        try ReferenceSchema(version: Migrations.all.last?.version ?? 0)
    }

    /// The columns of one of our tables, in their order.
    func columns(of table: String) throws -> [String] {
        try connection.query("SELECT name FROM pragma_table_info(\(table)) ORDER BY cid").map {
            try $0.text("name")
        }
    }

    /// Our tables, the ones that grow without end last.
    func tables() throws -> [String] {
        let large = ["messages", "events", "event_bodies"]
        let names = try connection.query(
            "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name"
        ).map { try $0.text("name") }
        return names.filter { !large.contains($0) } + large.filter(names.contains)
    }

    /// Throws where the database of `other` is not as we make it.
    /// - Parameter file: the name for errors.
    func check(_ other: SQLiteConnection, _ file: String) throws {
        guard let difference = try difference(to: other) else { return }
        throw BackupError.otherSchema(file, difference)
    }

    /// The first difference: an object that `other` has and ours has not, lacks, or defines
    /// otherwise; nil where they are the same.
    func difference(to other: SQLiteConnection) throws -> String? {
        let ours = try Self.objects(of: connection)
        let theirs = try Self.objects(of: other)
        for object in theirs where !ours.contains(where: { $0.isNamed(like: object) }) {
            return "the \(object.kind) \(object.name) is another program's, to be dropped first"
        }
        for object in ours {
            guard let found = theirs.first(where: { $0.isNamed(like: object) }) else {
                return "the \(object.kind) \(object.name) is missing"
            }
            guard found.isSame(as: object) else {
                return "the \(object.kind) \(object.name) has another definition"
            }
        }
        return nil
    }

    /// All but the statistics that ANALYZE leaves.
    private static func objects(of connection: SQLiteConnection) throws -> [Object] {
        try connection.query(
            """
            SELECT type, substr(name, 1, 200) AS name, substr(tbl_name, 1, 200) AS tbl_name,
                substr(COALESCE(sql, ''), 1, \(longestDefinition)) AS sql
            FROM sqlite_master WHERE name NOT IN ('sqlite_stat1', 'sqlite_stat4')
            LIMIT \(mostObjects)
            """
        ).map {
            Object(
                kind: try $0.text("type"), name: try $0.text("name"),
                table: try $0.text("tbl_name"), definition: try $0.text("sql"))
        }
    }
}
