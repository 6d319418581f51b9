internal import Formats

/// The database of the settings.
package enum DatabaseAddress: Sendable, Equatable {
    /// A SQLite file.
    case sqlite(file: String)
    /// PostgreSQL. libpq parses the address, which has a password.
    case postgreSQL(Secret)

    /// The problem of an address, without any part of the address.
    package typealias Problem = ValueProblem

    /// Reads `DB_ADDRESS`; an empty one means the file.
    package init(_ text: String, file: String) throws(Problem) {
        guard !text.isEmpty else {
            self = .sqlite(file: file)
            return
        }
        let bytes = Array(text.utf8)
        for scheme in ["postgresql", "postgres"] {
            let beginning = Array((scheme + "://").utf8)
            guard bytes.prefix(beginning.count).map(lowerCase) == beginning else { continue }
            let rest = bytes[beginning.count...]
            try Self.check(rest)
            // libpq knows the scheme in lower case alone.
            self = .postgreSQL(Secret(scheme + "://" + String(decoding: rest, as: UTF8.self)))
            return
        }
        throw Problem(text: "must begin with postgresql:// or postgres://, or be empty for SQLite")
    }

    /// Refuses an address that would be split in the middle of a password: libpq would quote the
    /// pieces as names of hosts, ports or databases.
    private static func check(_ rest: ArraySlice<UInt8>) throws(Problem) {
        let (at, slash, mark) = (UInt8(ascii: "@"), UInt8(ascii: "/"), UInt8(ascii: "?"))
        let authority = rest.prefix { $0 != slash && $0 != mark }
        let path = rest[authority.endIndex...].prefix { $0 != mark }
        guard authority.count(where: { $0 == at }) <= 1, !path.contains(at) else {
            throw Problem(
                text: "has a user or password with one of @ / ? that is not written as %40 %2F %3F")
        }
        let hosts = authority.firstIndex(of: at).map { authority[($0 + 1)...] } ?? authority
        for host in hosts.split(separator: UInt8(ascii: ",")) {
            // The colons of an IPv6 address stand in brackets.
            let end = host.lastIndex(of: UInt8(ascii: "]")).map { $0 + 1 } ?? host.startIndex
            guard let colon = host[end...].firstIndex(of: UInt8(ascii: ":")) else { continue }
            guard host[(colon + 1)...].allSatisfy({ (0x30...0x39).contains($0) }) else {
                throw Problem(text: "has a port that is no number")
            }
        }
    }
}
