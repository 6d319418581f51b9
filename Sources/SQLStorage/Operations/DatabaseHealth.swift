internal import CSQLite
internal import EventLoop
internal import Glibc

/// What can be told of a database that is in use, without being in anybody's way.
package struct DatabaseHealth: Sendable {
    /// What a look at the pages has found.
    package enum Pages: Sendable, Equatable {
        case sound
        /// Nothing wrong in the time there was: tables that were looked at whole, and others.
        case soundSoFar(whole: [String], others: [String])
        case damaged(String)
    }

    package let schemaVersion: Int64
    package let knownSchemaVersion: Int64
    /// What its schema has otherwise than this program makes it, which a restore would refuse.
    package let otherSchema: String?
    package let pages: Pages
    package let bytes: Int64
    package let walBytes: Int64
    /// Bytes of the file that are free for new rows.
    package let freeBytes: Int64

    /// How long one statement looks at pages, in milliseconds: the snapshot that it holds keeps the WAL
    /// from starting over.
    static let patience: Int64 = 200

    /// Looks at the database. Throws where it cannot be read, or has a schema that is not known.
    /// - Parameter patience: milliseconds of one statement.
    package static func examine(_ file: String) throws -> DatabaseHealth {
        try examine(file, patience: patience)
    }

    static func examine(_ file: String, patience: Int64) throws -> DatabaseHealth {
        let file = try SQLStorage.existing(file, mayCreate: false)
        let sizes = (size(of: file), size(of: file + "-wal"))
        let connection = try SQLiteConnection(file: file, role: .reader)
        let version = try connection.schemaVersion(file)
        let schema = try ReferenceSchema(version: version)
        let free = try connection.query(
            """
            SELECT freelist_count * page_size AS bytes
            FROM pragma_freelist_count, pragma_page_size
            """
        ).first?.integer("bytes")
        return DatabaseHealth(
            schemaVersion: version, knownSchemaVersion: Migrations.all.last?.version ?? 0,
            otherSchema: try schema.difference(to: connection),
            pages: try connection.look(at: try schema.tables(), for: patience), bytes: sizes.0,
            walBytes: sizes.1, freeBytes: free ?? 0)
    }

    private static func size(of file: String) -> Int64 {
        var status = stat()
        return stat(file, &status) == 0 ? Int64(status.st_size) : 0
    }

    /// The library's version as people write it, and whether the write gate makes up for a fault of it.
    package static var library: (version: String, needsGate: Bool) {
        let number = SQLiteConnection.libraryVersion
        let (major, minor, patch) = (number / 1_000_000, number / 1000 % 1000, number % 1000)
        // sqlite.org/wal.html, "The WAL-Reset Bug": fixed in 3.51.3, and in two older lines.
        let isFixed =
            number >= 3_051_003 || (minor == 50 && patch >= 7) || (minor == 44 && patch >= 6)
        return ("\(major).\(minor).\(patch)", !isFixed)
    }
}

extension SQLiteConnection {
    /// Looks at all pages, or where that takes longer at the tables one by one, in statements of at most
    /// so many milliseconds each.
    fileprivate func look(
        at tables: [String], for milliseconds: Int64
    ) throws -> DatabaseHealth.Pages {
        if let faults = try check("PRAGMA quick_check(3)", within: milliseconds) {
            return faults.isEmpty ? .sound : .damaged(faults)
        }
        var (whole, others): ([String], [String]) = ([], [])
        for table in tables {
            guard let faults = try check("PRAGMA quick_check(\(table))", within: milliseconds)
            else {
                others.append(table)
                continue
            }
            guard faults.isEmpty else { return .damaged(faults) }
            whole.append(table)
        }
        return .soundSoFar(whole: whole, others: others)
    }

    /// What a check finds; empty where all is well, nil where it takes too long. What an interrupted
    /// check says is no finding: it takes pages that it has not read for missing.
    private func check(_ pragma: String, within milliseconds: Int64) throws -> String? {
        let (faults, isWhole) = try interrupting(after: milliseconds) {
            () throws(DatabaseError) in try query(SQL(unsafe: pragma))
        }
        guard isWhole, let faults else { return nil }
        let texts = try faults.map { try $0.text("quick_check") }
        return texts == ["ok"] ? "" : texts.joined(separator: "; ")
    }
}
