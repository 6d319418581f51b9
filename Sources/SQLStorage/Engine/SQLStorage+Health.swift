package import Metrics
package import ProxyGPT

extension SQLStorage: StorageHealth {
    package func isHealthy() async -> Bool {
        guard await lease.canWrite() else { return false }
        do {
            return try await !database.query("SELECT 1 AS answer").isEmpty
        } catch {
            return false
        }
    }

    package func clockLead() async -> Int64 { await lease.clockLead / 1000 }

    package func hostCount() async throws -> Int {
        try await lease.livingProcesses().homeCount
    }

    /// The processes that are alive.
    package func livingProcesses() async throws -> [ProcessRecord] {
        try await lease.livingProcesses()
    }

    /// Milliseconds that this host's clock is ahead of the database's, measured now; nil where that is its
    /// own.
    package func measureClockLead() async throws -> Int64? {
        try await lease.measureClockLead()
    }

    /// Writes down how the database is. Called once a second.
    package func note(in scoreboard: Scoreboard) async {
        scoreboard.set(scoreboard.registry.databaseUp, isUp: await lease.isRenewed)
        guard let connections = await connections() else { return }
        scoreboard.set(scoreboard.registry.databaseConnections, 0, Int64(connections.busy))
        scoreboard.set(scoreboard.registry.databaseConnections, 1, Int64(connections.idle))
    }
}
