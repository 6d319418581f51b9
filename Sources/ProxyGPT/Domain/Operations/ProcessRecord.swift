internal import Formats

/// A process that is registered in the database.
package struct ProcessRecord: Sendable, Equatable {
    package let id: String
    /// The host's name, for people.
    package let host: String
    /// A hash of the machine's id; nil where the process does not know it.
    package let machine: String?
    /// Equal for the processes that share a state directory on this boot of the host.
    package let home: String
    package let heartbeat: Timestamp
    /// The host's monotonic clock at the heartbeat, in milliseconds; nil from older releases.
    package let uptime: Int64?

    package init(
        id: String, host: String, machine: String? = nil, home: String, heartbeat: Timestamp,
        uptime: Int64? = nil
    ) {
        self.id = id
        self.host = host
        self.machine = machine
        self.home = home
        self.heartbeat = heartbeat
        self.uptime = uptime
    }

    /// The id of the host's boot.
    package var boot: Substring { home.beginning(before: " ") }
}

extension Sequence<ProcessRecord> {
    /// The number of different values of `key`, counted for each machine.
    private func count(by key: (ProcessRecord) -> Substring) -> Int {
        var machines: [[UInt8]: Set<[UInt8]>] = [:]
        for process in self {
            machines[Array(key(process).utf8), default: []].formUnion(process.machineBytes)
        }
        return machines.values.reduce(0) { $0 + Swift.max(1, $1.count) }
    }

    /// The number of state directories: without Redis only processes with the same one exchange
    /// frames.
    package var homeCount: Int { count { $0.home[...] } }

    /// The problem of these processes without Redis; nil where they need none.
    package var problemWithoutRedis: String? {
        guard homeCount > 1 else { return nil }
        let names = names.joined(separator: ", ")
        return count(by: \.boot) > 1
            ? "processes of \(homeCount) hosts share this database without REDIS_ADDRESS: \(names)"
            : "processes with \(homeCount) state directories share this database without "
                + "REDIS_ADDRESS, on \(names)"
    }

    /// The names of hosts that have the same machine id.
    package var clones: [String] {
        var boots: [[UInt8]: Set<[UInt8]>] = [:]
        for process in self {
            for machine in process.machineBytes {
                boots[machine, default: []].insert(Array(process.boot.utf8))
            }
        }
        return filter { $0.machineBytes.contains { (boots[$0] ?? []).count > 1 } }.names
    }

    /// The names of the processes' hosts, each once.
    private var names: [String] {
        Set(map { Array($0.host.utf8) }).sorted { $0.lexicographicallyPrecedes($1) }
            .map { String(decoding: $0, as: UTF8.self) }
    }
}

extension ProcessRecord {
    /// One id or none.
    fileprivate var machineBytes: [[UInt8]] { machine.map { [Array($0.utf8)] } ?? [] }
}
