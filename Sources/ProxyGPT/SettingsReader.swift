/// Reads typed values out of texts and gathers what is wrong with them. A reading that fails
/// returns the fallback's value; the settings are thrown away then anyway.
struct SettingsReader {
    private let values: [String: String]
    private let fallbacks: [String: String]
    private(set) var problems: [String] = []

    init(_ values: [String: String]) {
        self.values = values
        fallbacks = Dictionary(
            uniqueKeysWithValues: Settings.table.map { ($0.name, $0.fallback) })
    }

    mutating func report(_ name: String, _ problem: String) {
        problems.append("\(name) \(problem).")
    }

    func text(_ name: String) -> String {
        let value = values[name] ?? ""
        return value.isEmpty ? fallback(name) : value
    }

    private func fallback(_ name: String) -> String {
        fallbacks[name] ?? ""
    }

    mutating func integer(_ name: String, _ range: ClosedRange<Int>) -> Int {
        if let value = Int(text(name)), range.contains(value) { return value }
        report(name, "must be a whole number from \(range.lowerBound) to \(range.upperBound)")
        return Int(fallback(name)) ?? range.lowerBound
    }

    mutating func database() -> DatabaseAddress {
        let file = text("STATE_DIRECTORY") + "/proxy.db"
        if let address = DatabaseAddress(text("DB_ADDRESS"), file: file) { return address }
        report("DB_ADDRESS", DatabaseAddress.problem)
        return .sqlite(file: file)
    }

    mutating func passwordMinimum() -> Int {
        integer("PASSWORD_MIN", 1...User.passwordLimit)
    }

    mutating func eventDays() -> Int {
        integer("EVENT_DAYS", 1...3650)
    }

    mutating func choice<T>(_ name: String, _ choices: [String: T]) -> T {
        if let value = choices[text(name).lowercased()] { return value }
        let words = choices.keys.sorted().map { $0.isEmpty ? "empty" : $0 }
        report(name, "must be \(words.joined(separator: " or "))")
        guard let value = choices[fallback(name)] ?? choices.values.first else {
            preconditionFailure("a setting without choices")
        }
        return value
    }

    /// Decimal seconds with up to three places, in milliseconds.
    mutating func seconds(_ name: String) -> Int64 {
        if let value = Self.milliseconds(text(name)), value >= 1, value <= 86_400_000 {
            return value
        }
        report(name, "must be a number of seconds from 0.001 to 86400")
        return Self.milliseconds(fallback(name)) ?? 1000
    }

    private static func milliseconds(_ text: String) -> Int64? {
        guard let seconds = Double(text), seconds.isFinite, seconds >= 0, seconds < 1e9 else {
            return nil
        }
        return Int64(seconds * 1000 + 0.5)
    }

    /// Bytes, or KiB, MiB or GiB with that suffix.
    mutating func bytes(_ name: String) -> Int64 {
        if let value = Self.bytes(text(name)), value >= 1, value <= 1 << 40 { return value }
        report(name, "must be a number of bytes, or of KiB, MiB or GiB, such as 25MiB")
        return Self.bytes(fallback(name)) ?? 1
    }

    private static func bytes(_ text: String) -> Int64? {
        var digits = Substring(text)
        var unit: Int64 = 1
        for (suffix, factor) in [("KiB", Int64(1) << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)]
        where text.hasSuffix(suffix) {
            digits = text.dropLast(suffix.count)
            unit = factor
        }
        guard let count = Int64(digits) else { return nil }
        let (product, overflow) = count.multipliedReportingOverflow(by: unit)
        return overflow ? nil : product
    }

    mutating func aliases(_ name: String) -> [String: String] {
        var aliases: [String: String] = [:]
        for pair in text(name).split(separator: ",") {
            let parts = pair.split(separator: "=", maxSplits: 1).map(Self.trimmed)
            guard parts.count == 2, !parts[0].isEmpty, !parts[1].isEmpty else {
                report(name, "must be name=model, separated by commas")
                return [:]
            }
            aliases[parts[0]] = parts[1]
        }
        return aliases
    }

    mutating func origins(_ name: String) -> [String] {
        let origins = text(name).split(separator: ",").map { Self.trimmed($0).lowercased() }
        for origin in origins {
            let authority = origin.split(separator: "/", omittingEmptySubsequences: false)
            guard origin.hasPrefix("http://") || origin.hasPrefix("https://"),
                authority.count == 3, !authority[2].isEmpty
            else {
                report(name, "must be origins such as https://example.org, separated by commas")
                break
            }
        }
        return origins
    }

    private static func trimmed(_ text: Substring) -> String {
        var text = text.drop { $0 == " " }
        while text.last == " " { text = text.dropLast() }
        return String(text)
    }

    mutating func upstream() -> UpstreamAddress {
        let types: [String: Bool?] = ["": Bool?.none, "azure": true, "openai": false]
        let isAzure = choice("API_TYPE", types)
        let url = text("API_URL")
        guard !url.isEmpty else {
            if isAzure == true { report("API_URL", "is required for Azure") }
            return .openAI
        }
        do {
            return try UpstreamAddress(url, isAzure: isAzure)
        } catch {
            report("API_URL", error.text)
            return .openAI
        }
    }

    mutating func redis(_ name: String) -> RedisAddress? {
        let text = text(name)
        if text.isEmpty { return nil }
        do {
            return try RedisAddress(text)
        } catch {
            report(name, error.text)
            return nil
        }
    }
}
