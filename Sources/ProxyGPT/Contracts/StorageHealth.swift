/// The state of the database, from which a process tells whether it can serve.
package protocol StorageHealth: Sendable {
    /// Whether the database answers and has stored this process's last heartbeat.
    func isHealthy() async -> Bool

    /// Seconds that this host's clock is ahead of the database's.
    func clockLead() async -> Int64

    /// The number of hosts with live processes on this database. Throws when the database does not
    /// answer.
    func hostCount() async throws -> Int
}

extension StorageHealth {
    package func clockLead() async -> Int64 { 0 }
}

/// The largest distance between a host's clock and the database's, in milliseconds.
package enum ClockTolerance {
    /// A larger distance is a warning.
    package static let warning: Int64 = 5000
    /// With a larger distance the host refuses requests.
    package static let limit: Int64 = 60_000
}
