/// Knows the processes that share the database.
package protocol ProcessStore: Sendable {
    /// The processes that are alive; `now` counts where the database has no clock of its own.
    func livingProcesses(now: Timestamp) async throws -> [ProcessRecord]
}

/// A process that is registered in the database.
package struct ProcessRecord: Sendable, Equatable {
    package let id: String
    package let host: String
    /// The same for those that share a state directory, and for no others.
    package let home: String
    package let heartbeat: Timestamp

    package init(id: String, host: String, home: String, heartbeat: Timestamp) {
        self.id = id
        self.host = host
        self.home = home
        self.heartbeat = heartbeat
    }
}

extension Sequence<ProcessRecord> {
    /// What is wrong when these processes have no Redis to meet in; nil where they need none.
    package var problemWithoutRedis: String? {
        let homes = Set(map { [$0.host, $0.home] })
        guard homes.count > 1 else { return nil }
        let hosts = Set(map(\.host)).sorted()
        return hosts.count > 1
            ? "processes of \(homes.count) hosts share this database without REDIS_ADDRESS: "
                + hosts.joined(separator: ", ")
            : "processes with \(homes.count) state directories share this database without "
                + "REDIS_ADDRESS, on \(hosts.joined())"
    }
}
