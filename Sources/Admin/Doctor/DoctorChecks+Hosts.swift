internal import ProxyGPT

// Findings about the hosts that share a database.

extension DoctorChecks {
    static nonisolated func finding(
        of processes: [ProcessRecord], usesRedis: Bool
    ) -> Finding {
        if !usesRedis, let problem = processes.problemWithoutRedis {
            return Finding("processes", .broken, problem)
        }
        return processes.isEmpty
            ? Finding("processes", .warning, "none is alive: the service does not run")
            : Finding("processes", .ok, "\(processes.count) alive")
    }

    /// A finding where two hosts have the same machine id, else none.
    static nonisolated func finding(ofClonesAmong processes: [ProcessRecord]) -> [Finding] {
        let clones = processes.clones
        guard !clones.isEmpty else { return [] }
        return [
            Finding(
                "machine id", .warning,
                "two hosts have one machine id, as a copy of a machine has it: "
                    + clones.joined(separator: ", ") + "; give the copy its own (`rm "
                    + "/etc/machine-id && systemd-machine-id-setup`), unless a host was restarted "
                    + "just now")
        ]
    }

    /// - Parameter lead: milliseconds that this host's clock is ahead; nil where the database has no other.
    static nonisolated func finding(ofClockLead lead: Int64?) -> Finding {
        guard let lead else {
            return Finding("clock", .ok, "the database uses this host's clock")
        }
        let distance = lead == .min ? .max : abs(lead)
        let seconds = "\(distance / 1000).\(distance % 1000 / 100) s"
        let text =
            "this host's is \(seconds) \(lead < 0 ? "behind" : "ahead of") the database's"
        if distance > ClockTolerance.limit {
            return Finding(
                "clock", .broken, text + ": this host serves nothing until that is mended")
        }
        return Finding("clock", distance > ClockTolerance.warning ? .warning : .ok, text)
    }
}
