internal import CSQLite
internal import EventLoop
internal import Glibc

/// The state of a database that is in use, found without delaying the service.
package struct DatabaseHealth: Sendable {
    /// The result of a check of the pages.
    package enum Pages: Sendable, Equatable {
        case sound
        /// No error in the time there was: the tables that were checked whole, and the others.
        case soundSoFar(whole: [String], others: [String])
        case damaged(String)
    }

    package let schemaVersion: Int64
    package let knownSchemaVersion: Int64
    /// The difference between its schema and this program's, which a restore would refuse.
    package let otherSchema: String?
    package let pages: Pages
    package let bytes: Int64
    package let walBytes: Int64
    /// Bytes of the file that are free for new rows.
    package let freeBytes: Int64

    /// Milliseconds for which one statement checks pages: the snapshot that it holds keeps the WAL
    /// from starting over.
    static let statementLimit: Int64 = 200

    /// Examines the database. Throws where it cannot be read, or has an unknown schema.
    /// - Parameter statementLimit: milliseconds of one statement.
    package static func examine(_ file: String) throws -> DatabaseHealth {
        try examine(file, statementLimit: statementLimit)
    }

    static func examine(_ file: String, statementLimit: Int64) throws -> DatabaseHealth {
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
            pages: try connection.check(try schema.tables(), for: statementLimit), bytes: sizes.0,
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
    /// Checks all pages, or where that takes longer the tables one by one, in statements of at most
    /// so many milliseconds each.
    fileprivate func check(
        _ tables: [String], for milliseconds: Int64
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

    /// The errors that a check finds; empty where there are none, nil where it takes too long. The
    /// report of an interrupted check does not count: it takes pages that it has not read for
    /// missing.
    private func check(_ pragma: String, within milliseconds: Int64) throws -> String? {
        let (faults, isWhole) = try interrupting(after: milliseconds) {
            () throws(DatabaseError) in try query(SQL(unsafe: pragma))
        }
        guard isWhole, let faults else { return nil }
        let texts = try faults.map { try $0.text("quick_check") }
        return texts == ["ok"] ? "" : texts.joined(separator: "; ")
    }
}
