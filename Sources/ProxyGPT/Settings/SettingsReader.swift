internal import Formats

/// What is wrong with a setting's text; completes a sentence that begins with the setting's name.
package struct ValueProblem: Error, Equatable {
    package let text: String
}

/// Reads typed values out of texts, as the table of settings says, and gathers what is wrong with them. A
/// reading that fails returns some value of the type; the settings are thrown away then anyway.
struct SettingsReader {
    private let values: [String: String]
    private(set) var problems: [String] = []

    init(_ values: [String: String]) {
        self.values = values
    }

    mutating func report(_ name: String, _ problem: String) {
        problems.append("\(name) \(problem).")
    }

    /// Reports a value that is not what the table says. The value is quoted unless it is secret.
    private mutating func refuse(_ name: String) {
        let entry = Settings.entry(name)
        let problem = "must be \(entry.type)"
        report(
            name,
            entry.isSecret ? problem : problem + ", not `\(Self.printable(text(name)))`")
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
        return value.isEmpty ? Settings.entry(name).defaultText : value
    }

    // MARK: - The table's types

    mutating func integer(_ name: String) -> Int {
        guard case .integer(let range, _) = Settings.entry(name).type else { wrongType(name) }
        if let value = text(name).utf8.decimalNumber, range.contains(Int(value)) {
            return Int(value)
        }
        refuse(name)
        return range.lowerBound
    }

    mutating func milliseconds(_ name: String) -> Int64 {
        guard case .seconds(let range) = Settings.entry(name).type else { wrongType(name) }
        if let value = Self.milliseconds(text(name)), range.contains(value) { return value }
        refuse(name)
        return range.lowerBound
    }

    mutating func bytes(_ name: String) -> Int64 {
        guard case .size(let range) = Settings.entry(name).type else { wrongType(name) }
        if let value = Self.bytes(text(name)), range.contains(value) { return value }
        refuse(name)
        return range.lowerBound
    }

    /// The word, in small letters.
    mutating func choice(_ name: String) -> String {
        guard case .choice(let words) = Settings.entry(name).type else { wrongType(name) }
        let word = text(name).lowercased()
        if words.contains(word) { return word }
        refuse(name)
        return Settings.entry(name).defaultText
    }

    private func wrongType(_ name: String) -> Never {
        preconditionFailure("\(name) has another type in the table of settings")
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

    // MARK: - Forms

    /// A name of a cookie (RFC 6265, section 4.1.1).
    mutating func cookieName(_ name: String) -> String {
        let value = text(name)
        let bytes = value.utf8.map(lowerCase)
        if !(1...64).contains(bytes.count) || !bytes.allSatisfy(HeaderNames.isNameByte) {
            refuse(name)
        }
        return value
    }

    mutating func aliases(_ name: String) -> [String: String] {
        var aliases: [String: String] = [:]
        for pair in text(name).split(separator: ",") {
            let parts = pair.split(separator: "=", maxSplits: 1).map(Self.trimmed)
            guard parts.count == 2, !parts[0].isEmpty, !parts[1].isEmpty else {
                refuse(name)
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
                refuse(name)
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
        refuse(name)
        return Settings.entry(name).defaultText
    }

    /// Whether a byte may stand in a segment without an escape (RFC 3986, section 2.3).
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

    // MARK: - Values with parsers of their own

    /// What a parser makes of a text, or nil and a reported problem.
    private mutating func parsed<Value>(
        _ name: String, _ text: String, _ parse: (String) throws(ValueProblem) -> Value
    ) -> Value? {
        do throws(ValueProblem) {
            return try parse(text)
        } catch {
            report(name, error.text)
            return nil
        }
    }

    mutating func database() -> DatabaseAddress {
        let file = text("STATE_DIRECTORY") + "/proxy.db"
        return parsed("DB_ADDRESS", text("DB_ADDRESS")) { text throws(ValueProblem) in
            try DatabaseAddress(text, file: file)
        } ?? .sqlite(file: file)
    }

    mutating func upstream() -> UpstreamAddress {
        let type = choice("API_TYPE")
        let url = text("API_URL")
        guard !url.isEmpty else {
            if type == "azure" { report("API_URL", "is required for Azure") }
            return .openAI
        }
        let isAzure = type.isEmpty ? nil : type == "azure"
        return parsed("API_URL", url) { text throws(ValueProblem) in
            try UpstreamAddress(text, isAzure: isAzure)
        } ?? .openAI
    }

    /// The proxies that `UPSTREAM_PROXY` names, or the environment's where it says so.
    mutating func upstreamProxy() -> UpstreamProxyRules {
        let text = text("UPSTREAM_PROXY")
        if text.isEmpty { return .none }
        guard Settings.namesEnvironmentProxies(text) else {
            let proxy = proxy("UPSTREAM_PROXY", text)
            return UpstreamProxyRules(secure: proxy, plain: proxy)
        }
        return UpstreamProxyRules(
            secure: environmentProxy("HTTPS_PROXY"), plain: environmentProxy("HTTP_PROXY"),
            exceptions: variable("NO_PROXY"))
    }

    private mutating func environmentProxy(_ name: String) -> UpstreamProxy? {
        let text = variable(name)
        return text.isEmpty ? nil : proxy(name, text)
    }

    /// A variable whose name may be in small letters, too. It is no setting.
    private func variable(_ name: String) -> String {
        let text = values[name.lowercased()] ?? ""
        return text.isEmpty ? values[name] ?? "" : text
    }

    private mutating func proxy(_ name: String, _ text: String) -> UpstreamProxy? {
        parsed(name, text) { text throws(ValueProblem) in try UpstreamProxy(text) }
    }

    mutating func headerNames(_ name: String) -> HeaderNames {
        parsed(name, text(name)) { text throws(ValueProblem) in try HeaderNames(text) } ?? .none
    }

    mutating func redis(_ name: String) -> RedisAddress? {
        let text = text(name)
        if text.isEmpty { return nil }
        return parsed(name, text) { text throws(ValueProblem) in try RedisAddress(text) }
    }

    /// Which of the upstream's paths are passed on.
    mutating func paths(_ name: String) -> PathPolicy {
        if let paths = PathPolicy(text(name)) { return paths }
        report(name, "must be \(Settings.entry(name).type)")
        return PathPolicy()
    }
}
