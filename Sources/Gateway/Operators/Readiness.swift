package import ProxyGPT

/// Finds out whether this process can do its work: by what it needs here, never by the upstream.
package struct Readiness: Sendable {
    private let storage: any StorageHealth
    private let bus: any Bus
    /// Without Redis the frames of one host are not heard on another.
    private let demandsOneHost: Bool

    package init(storage: any StorageHealth, bus: any Bus, settings: Settings) {
        self.storage = storage
        self.bus = bus
        demandsOneHost = settings.redisAddress == nil
    }

    /// What is missing, as sentences; nothing where all is well.
    func problems() async -> [String] {
        guard await storage.isHealthy() else {
            return ["The database cannot be reached or written."]
        }
        var problems: [String] = []
        let lead = await storage.clockLead()
        if abs(lead) > ClockTolerance.limit / 1000 {
            problems.append(
                "This host's clock is \(abs(lead)) s \(lead > 0 ? "ahead of" : "behind") the "
                    + "database's.")
        }
        if await !bus.isReachable() { problems.append("The bus cannot be reached.") }
        if demandsOneHost {
            do {
                let count = try await storage.hostCount()
                if count > 1 {
                    problems.append("\(count) hosts share the database without REDIS_ADDRESS.")
                }
            } catch {
                problems.append("The database cannot be reached or written.")
            }
        }
        return problems
    }
}
