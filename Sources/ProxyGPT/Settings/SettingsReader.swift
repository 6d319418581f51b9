internal import Formats

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

    /// Reports a value, which is quoted unless it is secret. Addresses are reported without: what does
    /// not parse may have a password anywhere.
    private mutating func refuse(_ name: String, _ problem: String) {
        let isSecret = Settings.table.contains { $0.name == name && $0.isSecret }
        report(name, isSecret ? problem : problem + ", not `\(Self.printable(text(name)))`")
    }

    /// The beginning of a text in printable ASCII.
    static func printable(_ text: String) -> String {
        let limit = 64
        let shown = text.utf8.prefix(limit).map { byte in
            (0x20...0x7E).contains(byte) && byte != UInt8(ascii: "`") ? byte : UInt8(ascii: "?")
        }
        return String(decoding: shown, as: UTF8.self) + (text.utf8.count > limit ? "…" : "")
    }

    func text(_ name: String) -> String {
        let value = values[name] ?? ""
        return value.isEmpty ? fallback(name) : value
    }

    private func fallback(_ name: String) -> String {
        fallbacks[name] ?? ""
    }

    mutating func integer(_ name: String, _ range: ClosedRange<Int>) -> Int {
        if let value = text(name).utf8.decimalNumber, range.contains(Int(value)) {
            return Int(value)
        }
        refuse(name, "must be a whole number from \(range.lowerBound) to \(range.upperBound)")
        return fallback(name).utf8.decimalNumber.map { Int($0) } ?? range.lowerBound
    }

    mutating func database() -> DatabaseAddress {
        let file = text("STATE_DIRECTORY") + "/proxy.db"
        do {
            return try DatabaseAddress(text("DB_ADDRESS"), file: file)
        } catch {
            report("DB_ADDRESS", error.text)
            return .sqlite(file: file)
        }
    }

    mutating func preparesStatements() -> Bool {
        choice("DB_PREPARED", ["on": true, "off": false])
    }

    mutating func passwordMinimum() -> Int {
        integer("PASSWORD_MIN", 1...User.passwordLimit)
    }

    /// A name of a cookie (RFC 6265, section 4.1.1).
    mutating func cookieName(_ name: String) -> String {
        let value = text(name)
        let bytes = value.utf8.map(lowerCase)
        if !(1...64).contains(bytes.count) || !bytes.allSatisfy(HeaderNames.isNameByte) {
            refuse(name, "must be 1 to 64 letters, digits and dashes")
        }
        return value
    }

    mutating func eventDays() -> Int {
        integer("EVENT_DAYS", 1...3650)
    }

    mutating func eventRowDays() -> Int {
        integer("EVENT_ROW_DAYS", 0...36_500)
    }

    mutating func choice<T>(_ name: String, _ choices: [String: T]) -> T {
        if let value = choices[text(name).lowercased()] { return value }
        let words = choices.keys.sorted().map { $0.isEmpty ? "empty" : $0 }
        refuse(name, "must be \(words.joined(separator: " or "))")
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
        refuse(name, "must be a number of seconds from 0.001 to 86400")
        return Self.milliseconds(fallback(name)) ?? 1000
    }

    private static func milliseconds(_ text: String) -> Int64? {
        let point = UInt8(ascii: ".")
        let whole = text.utf8.prefix { $0 != point }
        let fraction = text.utf8.dropFirst(whole.count)
        guard let seconds = whole.decimalNumber, seconds < 1_000_000_000 else { return nil }
        if fraction.isEmpty { return seconds * 1000 }
        let places = fraction.dropFirst()
        guard places.count <= 3, let parts = places.decimalNumber else { return nil }
        return seconds * 1000 + parts * [100, 10, 1][places.count - 1]
    }

    /// Bytes, or KiB, MiB or GiB with that suffix.
    mutating func bytes(_ name: String) -> Int64 {
        if let value = Self.bytes(text(name)), value >= 1, value <= 1 << 40 { return value }
        refuse(name, "must be a number of bytes, or of KiB, MiB or GiB, such as 25MiB")
        return Self.bytes(fallback(name)) ?? 1
    }

    private static func bytes(_ text: String) -> Int64? {
        var digits = text.utf8[...]
        var unit: Int64 = 1
        for (suffix, factor) in [("KiB", Int64(1) << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)]
        where text.utf8.suffix(suffix.utf8.count).elementsEqual(suffix.utf8) {
            digits = text.utf8.dropLast(suffix.utf8.count)
            unit = factor
        }
        guard let count = digits.decimalNumber else { return nil }
        let (product, overflow) = count.multipliedReportingOverflow(by: unit)
        return overflow ? nil : product
    }

    mutating func aliases(_ name: String) -> [String: String] {
        var aliases: [String: String] = [:]
        for pair in text(name).split(separator: ",") {
            let parts = pair.split(separator: "=", maxSplits: 1).map(Self.trimmed)
            guard parts.count == 2, !parts[0].isEmpty, !parts[1].isEmpty else {
                refuse(name, "must be name=model, separated by commas")
                return [:]
            }
            aliases[parts[0]] = parts[1]
        }
        return aliases
    }

    /// - Parameter ofApps: takes `null` and schemes such as `capacitor://` as well.
    mutating func origins(_ name: String, ofApps: Bool = false) -> [String] {
        let origins = text(name).split(separator: ",").map { Self.trimmed($0).lowercased() }
        for origin in origins where !(ofApps && origin == WebOrigin.opaque.text) {
            guard let read = WebOrigin(origin), ofApps || read.isHTTP else {
                refuse(name, "must be origins such as https://example.org, separated by commas")
                break
            }
        }
        return origins
    }

    /// A path of plain segments.
    mutating func plainPath(_ name: String) -> String {
        let path = text(name)
        let segments = path.utf8.split(
            separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
        let isPlain =
            segments.dropFirst().dropLast().allSatisfy { !$0.isEmpty }
            && segments.joined().allSatisfy(Self.isUnreserved)
        if path.utf8.first == UInt8(ascii: "/"), path.utf8.count <= 200, isPlain { return path }
        refuse(name, "must be a path such as /ai/")
        return fallback(name)
    }

    /// What a segment may consist of without an escape (RFC 3986, section 2.3).
    private static func isUnreserved(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "a")...UInt8(ascii: "z"),
            UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "-"), UInt8(ascii: "."),
            UInt8(ascii: "_"), UInt8(ascii: "~"):
            true
        default: false
        }
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

    /// The proxies that `UPSTREAM_PROXY` names, or the environment's where it says so.
    mutating func upstreamProxy() -> UpstreamProxyRules {
        let text = text("UPSTREAM_PROXY")
        if text.isEmpty { return .none }
        guard Settings.asksForEnvironmentsProxies(text) else {
            let proxy = proxy("UPSTREAM_PROXY", text)
            return UpstreamProxyRules(secure: proxy, plain: proxy)
        }
        return UpstreamProxyRules(
            secure: environmentsProxy("HTTPS_PROXY"), plain: environmentsProxy("HTTP_PROXY"),
            exceptions: variable("NO_PROXY"))
    }

    private mutating func environmentsProxy(_ name: String) -> UpstreamProxy? {
        let text = variable(name)
        return text.isEmpty ? nil : proxy(name, text)
    }

    /// A variable that is known by its name in small letters, too.
    private func variable(_ name: String) -> String {
        let text = text(name.lowercased())
        return text.isEmpty ? self.text(name) : text
    }

    private mutating func proxy(_ name: String, _ text: String) -> UpstreamProxy? {
        do {
            return try UpstreamProxy(text)
        } catch {
            report(name, error.text)
            return nil
        }
    }

    mutating func headerNames(_ name: String) -> HeaderNames {
        do {
            return try HeaderNames(text(name))
        } catch {
            report(name, error.text)
            return .none
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
