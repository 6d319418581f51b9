internal import Formats
internal import ProxyGPT

/// Decides which processes are alive, as one of them sees it.
///
/// Processes of one start of a host are compared by its monotonic clock, which cannot be set. All
/// others are compared by the database's clock. A heartbeat ahead of that clock comes from a clock
/// that was set back: such a process is dead when it does not renew its lease within the lifetime,
/// by the monotonic clock of the observing process.
struct ProcessWatch: Sendable {
    let own: ProcessIdentity
    /// Heartbeats that lie ahead, and since when each has been seen.
    private var ahead: [String: (heartbeat: Timestamp, since: Int64)] = [:]

    init(_ own: ProcessIdentity) {
        self.own = own
    }

    /// Takes note of heartbeats that lie ahead. Called again and again.
    /// - Parameter uptime: the monotonic clock, in milliseconds.
    mutating func observe(_ records: [ProcessRecord], now: Timestamp, uptime: Int64) {
        var found: [String: (heartbeat: Timestamp, since: Int64)] = [:]
        for record in records where isAhead(record, of: now) {
            let known = ahead[record.id].flatMap {
                $0.heartbeat == record.heartbeat ? $0.since : nil
            }
            found[record.id] = (record.heartbeat, known ?? uptime)
        }
        ahead = found
    }

    func isAlive(_ record: ProcessRecord, now: Timestamp, uptime: Int64) -> Bool {
        if let last = record.uptime, isOfOwnStart(record), last <= uptime &+ ProcessLease.lifetime {
            return uptime &- last <= ProcessLease.lifetime
        }
        if isAhead(record, of: now) {
            guard let seen = ahead[record.id], seen.heartbeat == record.heartbeat else {
                return true
            }
            return uptime &- seen.since <= ProcessLease.lifetime
        }
        return now.milliseconds &- record.heartbeat.milliseconds <= ProcessLease.lifetime
    }

    private func isAhead(_ record: ProcessRecord, of now: Timestamp) -> Bool {
        record.heartbeat.milliseconds &- now.milliseconds > ProcessLease.lifetime
    }

    /// Whether it has the monotonic clock of this process.
    private func isOfOwnStart(_ record: ProcessRecord) -> Bool {
        guard record.boot.utf8.elementsEqual(own.bootID.utf8) else { return false }
        guard let machine = record.machine, let ours = own.machine else { return true }
        return machine.hasSameBytes(as: ours)
    }
}

extension ProcessRecord {
    static let columns = "id, host, machine_id, boot_id, heartbeat, uptime"

    init(row: Row) throws {
        self.init(
            id: try row.text("id"), host: try row.text("host"),
            machine: try row.optionalText("machine_id"), home: try row.text("boot_id"),
            heartbeat: try row.timestamp("heartbeat"), uptime: try row.optionalInteger("uptime"))
    }
}
