package import Metrics
internal import ProxyGPT

extension SQLStorage: StorageHealth {
    package func isWell() async -> Bool {
        guard await lease.canWrite() else { return false }
        do {
            return try await !database.query("SELECT 1 AS answer").isEmpty
        } catch {
            return false
        }
    }

    package func clockLead() async -> Int64 { await lease.clockLead / 1000 }

    package func hostCount() async throws -> Int { try await lease.hostCount() }

    /// Writes down how the database is. Called once a second.
    package func note(in scoreboard: Scoreboard) async {
        scoreboard.set(scoreboard.catalog.databaseUp, isUp: await lease.isBeating)
        guard let connections = await connections() else { return }
        scoreboard.set(scoreboard.catalog.databaseConnections, 0, Int64(connections.busy))
        scoreboard.set(scoreboard.catalog.databaseConnections, 1, Int64(connections.idle))
    }
}
