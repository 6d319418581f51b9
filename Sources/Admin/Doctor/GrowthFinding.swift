internal import ProxyGPT
internal import SQLStorage

/// The finding of `doctor` about the growth of the database and the day on which its disk is full.
struct GrowthFinding {
    private static let check = "growth"
    /// A disk that is full within so many days is a warning.
    private static let warningDays = 30.0
    /// Days beyond which a forecast means nothing.
    private static let horizon = 3650.0

    let growth: StorageGrowth
    /// Days for which bodies and rows are kept; rows for ever where `rowDays` is 0.
    let bodyDays: Int64
    let rowDays: Int64

    /// - Parameter free: free bytes on the database's disk; nil where the database is a server's.
    func finding(free: Int64?) -> Finding {
        let parts = [growth.events, growth.bodies, growth.messages].map(\.bytes)
        var text =
            "\(Self.gigabytes(parts.reduce(0, +))) GB a day at the rate of the last "
            + "\(counted(growth.hours, "hour")): events \(Self.gigabytes(parts[0])), bodies "
            + "\(Self.gigabytes(parts[1])), messages \(Self.gigabytes(parts[2]))"
        if rowDays > 0 {
            let most = parts[0] * Double(rowDays) + parts[1] * Double(bodyDays)
            text +=
                "; events and bodies come to \(Self.gigabytes(most)) GB with "
                + "EVENT_ROW_DAYS=\(rowDays) and EVENT_DAYS=\(bodyDays)"
        }
        guard let free else {
            return Finding(
                Self.check, .ok,
                text + "; in a year \(Self.gigabytes(added(in: 365))) GB more on the server's disk")
        }
        guard let days = daysUntil(added: Double(free)), days < Self.horizon else {
            return Finding(Self.check, .ok, text + "; the disk suffices for ten years")
        }
        return Finding(
            Self.check, days < Self.warningDays ? .warning : .ok,
            text + "; the disk is full in \(counted(Int64(days.rounded()), "day"))")
    }

    /// The finding where there are too few events.
    static let unknown = Finding(
        check, .ok, "known after an hour of events")

    /// The bytes added in a day, and the number of days until retention removes as much as is added.
    private var rates: [(bytes: Double, days: Double)] {
        func days(_ kept: Int64, _ age: Double) -> Double { max(0, Double(kept) - age) }
        return [
            (growth.events.bytes, rowDays > 0 ? days(rowDays, growth.events.age) : .infinity),
            (growth.bodies.bytes, days(bodyDays, growth.bodies.age)),
            (growth.messages.bytes, .infinity),
        ]
    }

    private func added(in days: Double) -> Double {
        rates.reduce(0) { $0 + $1.bytes * min(days, $1.days) }
    }

    /// The days until so many bytes are added; nil where that never happens.
    private func daysUntil(added bytes: Double) -> Double? {
        let ends = (rates.map(\.days).filter(\.isFinite) + [Self.horizon]).sorted()
        var start = 0.0
        for end in ends {
            let (before, after) = (added(in: start), added(in: end))
            if after >= bytes, after > before {
                return start + (end - start) * max(0, bytes - before) / (after - before)
            }
            start = end
        }
        return nil
    }

    /// Bytes in gigabytes, with about three digits.
    private static func gigabytes(_ bytes: Double) -> String {
        let hundredths = Int64(min(1e17, max(0, bytes / 1e7)).rounded())
        if bytes > 0, hundredths == 0 { return "less than 0.01" }
        if hundredths >= 10_000 { return String(hundredths / 100) }
        let fraction = hundredths % 100
        return "\(hundredths / 100).\(fraction < 10 ? "0" : "")\(fraction)"
    }
}
