/// Which database the settings name.
package enum DatabaseAddress: Sendable, Equatable {
    /// A SQLite file.
    case sqlite(file: String)
    /// PostgreSQL; the address is libpq's business, and holds a password.
    case postgreSQL(Secret)

    /// Reads `DB_ADDRESS`; an empty one means the file. Nil for one that is neither's.
    package init?(_ text: String, file: String) {
        let scheme = text.prefix { $0 != ":" }.lowercased()
        if text.isEmpty {
            self = .sqlite(file: file)
        } else if ["postgresql", "postgres"].contains(scheme),
            text.dropFirst(scheme.count).hasPrefix("://")
        {
            // libpq knows the scheme in lower case alone.
            self = .postgreSQL(Secret(scheme + text.dropFirst(scheme.count)))
        } else {
            return nil
        }
    }

    static let problem =
        "must begin with postgresql:// or postgres://, or be empty for SQLite"
}
