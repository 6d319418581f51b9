/// How the database is, for whoever decides whether this process can serve.
package protocol StorageHealth: Sendable {
    /// Whether it answers, and has taken this process's last sign of life.
    func isHealthy() async -> Bool

    /// Seconds that this host's clock is ahead of the database's.
    func clockLead() async -> Int64

    /// How many hosts have processes that live on this database. Throws when it does not answer.
    func hostCount() async throws -> Int
}

extension StorageHealth {
    package func clockLead() async -> Int64 { 0 }
}

/// How far a host's clock may be from the database's, in milliseconds.
package enum ClockTolerance {
    /// Beyond that there is a warning.
    package static let warning: Int64 = 5000
    /// Beyond that the host serves nobody.
    package static let limit: Int64 = 60_000
}
