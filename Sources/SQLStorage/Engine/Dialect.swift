internal import ProxyGPT

/// The differences between the databases in a table's definition, and in a few statements.
package struct Dialect: Sendable {
    /// Compared byte by byte, whatever the database's language is: ids and pages rest on it.
    let text: String
    /// 64 bits with a sign.
    let integer: String
    let bytes: String
    /// Ends a table whose rows are small: kept in the order of the primary key where possible.
    let small: String
    /// Ends a table whose rows may be large.
    let large: String
    /// The database's own clock in milliseconds since 1970, for leases that several hosts share; nil
    /// where the processes share a clock already.
    var clock: String?
    /// Ends a SELECT of rows that are about to go: locks them, and passes over those that another
    /// process is at.
    var skipLocked = ""
    /// The number of rows of unknown size that a statement removes: the fewer, the shorter other
    /// writers wait.
    var batch = 1
    /// Holds once all living processes had the time to renew their leases after the database itself
    /// was away.
    var hasSettled = "1 = 1"

    /// The present moment in SQL: by the database's clock where several hosts share it, since their
    /// clocks differ.
    func moment(_ now: Timestamp) -> SQL {
        clock.map { SQL(unsafe: $0) } ?? "\(now)"
    }

    /// A time that a host has computed when its own clock showed `now`, by the database's clock.
    func time(_ time: Timestamp, at now: Timestamp) -> SQL {
        clock.map { "\(unsafe: $0) + \(time.milliseconds &- now.milliseconds)" } ?? "\(time)"
    }

    /// Whether several hosts may share the database, each with its own clock and its own locks.
    var hasServer: Bool { !skipLocked.isEmpty }

    static let sqlite = Dialect(
        text: "TEXT", integer: "INTEGER", bytes: "BLOB", small: " STRICT, WITHOUT ROWID",
        large: " STRICT")
    static let postgreSQL = Dialect(
        text: "TEXT COLLATE \"C\"", integer: "BIGINT", bytes: "BYTEA", small: "", large: "",
        clock: postgreSQLClock, skipLocked: "FOR UPDATE SKIP LOCKED", batch: 64,
        hasSettled: """
            clock_timestamp() - pg_postmaster_start_time() > interval '15 seconds'
            """)
    static let postgreSQLClock =
        "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)"
}
