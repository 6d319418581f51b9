/// How the database is, for whoever decides whether this process can serve.
package protocol StorageHealth: Sendable {
    /// Whether it answers, and has taken this process's last sign of life.
    func isWell() async -> Bool

    /// How many hosts have processes that live on this database. Throws when it does not answer.
    func hostCount() async throws -> Int
}
