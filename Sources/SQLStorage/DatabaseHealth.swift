internal import CSQLite
internal import EventLoop
internal import Glibc

/// What can be told of a database that is in use, without being in anybody's way.
package struct DatabaseHealth: Sendable {
    /// What a look at the pages has found.
    package enum Pages: Sendable, Equatable {
        case sound
        /// Nothing wrong in the time there was.
        case soundSoFar
        case damaged(String)
    }

    package let schemaVersion: Int64
    package let knownSchemaVersion: Int64
    /// What its schema has otherwise than this program makes it, which a restore would refuse.
    package let otherSchema: String?
    package let pages: Pages
    package let bytes: Int64
    package let walBytes: Int64

    /// How long the pages are looked at, in milliseconds: no read of the database lasts longer.
    private static let patience: Int64 = 80

    /// Looks at the database. Throws where it cannot be read, or has a schema that is not known.
    package static func examine(_ file: String) throws -> DatabaseHealth {
        let file = try SQLStorage.existing(file, mayCreate: false)
        let sizes = (size(of: file), size(of: file + "-wal"))
        let connection = try SQLiteConnection(file: file, role: .reader)
        let version = try connection.schemaVersion(file)
        return DatabaseHealth(
            schemaVersion: version, knownSchemaVersion: Migrations.all.last?.version ?? 0,
            otherSchema: try ReferenceSchema(version: version).difference(to: connection),
            pages: try connection.look(for: patience), bytes: sizes.0, walBytes: sizes.1)
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
    /// Runs `quick_check` for at most so many milliseconds.
    fileprivate func look(for milliseconds: Int64) throws -> DatabaseHealth.Pages {
        do {
            let faults = try interrupting(after: milliseconds) { () throws(DatabaseError) in
                try query("PRAGMA quick_check(3)")
            }
            let texts = try faults.map { try $0.text("quick_check") }
            return texts == ["ok"] ? .sound : .damaged(texts.joined(separator: "; "))
        } catch let error as DatabaseError where error.kind == .interrupted {
            return .soundSoFar
        }
    }
}
