internal import Formats

/// A process that is registered in the database.
package struct ProcessRecord: Sendable, Equatable {
    package let id: String
    /// The host's name, which only people read.
    package let host: String
    /// What stands for the machine's id; nil where the process does not know or does not say.
    package let machine: String?
    /// The same for those that share a state directory, and for no others on this start of the host.
    package let home: String
    package let heartbeat: Timestamp
    /// The host's monotonic clock at the heartbeat, in milliseconds; nil where the process does not say.
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

    /// Names the start of the host's kernel.
    package var boot: Substring { home.beginning(before: " ") }
}

extension Sequence<ProcessRecord> {
    /// How many of what `key` names there are, each once for every machine that says its id.
    private func count(by key: (ProcessRecord) -> Substring) -> Int {
        var machines: [[UInt8]: Set<[UInt8]>] = [:]
        for process in self {
            machines[Array(key(process).utf8), default: []].formUnion(process.machineBytes)
        }
        return machines.values.reduce(0) { $0 + Swift.max(1, $1.count) }
    }

    /// How many homes they have: without Redis those of one home alone hear each other.
    package var homeCount: Int { count { $0.home[...] } }

    /// What is wrong when these processes have no Redis to meet in; nil where they need none.
    package var problemWithoutRedis: String? {
        guard homeCount > 1 else { return nil }
        let names = names.joined(separator: ", ")
        return count(by: \.boot) > 1
            ? "processes of \(homeCount) hosts share this database without REDIS_ADDRESS: \(names)"
            : "processes with \(homeCount) state directories share this database without "
                + "REDIS_ADDRESS, on \(names)"
    }

    /// Which hosts, by name, live with the machine id of another one.
    package var clones: [String] {
        var boots: [[UInt8]: Set<[UInt8]>] = [:]
        for process in self {
            for machine in process.machineBytes {
                boots[machine, default: []].insert(Array(process.boot.utf8))
            }
        }
        return filter { $0.machineBytes.contains { (boots[$0] ?? []).count > 1 } }.names
    }

    /// The names of their hosts, each once.
    private var names: [String] {
        Set(map { Array($0.host.utf8) }).sorted { $0.lexicographicallyPrecedes($1) }
            .map { String(decoding: $0, as: UTF8.self) }
    }
}

extension ProcessRecord {
    /// One id or none.
    fileprivate var machineBytes: [[UInt8]] { machine.map { [Array($0.utf8)] } ?? [] }
}
