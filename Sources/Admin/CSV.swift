/// Lines of comma-separated values (RFC 4180).
enum CSV {
    /// One line without its end. Values come on one line each, and a value that a spreadsheet would
    /// take for a formula has an apostrophe before it.
    static func line(_ values: [String?]) -> String {
        values.map { $0.map(field) ?? "" }.joined(separator: ",")
    }

    private static func field(_ value: String) -> String {
        var text = TerminalText.line(value)
        if let first = text.first, "=+-@".contains(first), Int64(text) == nil { text = "'" + text }
        guard text.contains(where: { $0 == "," || $0 == "\"" }) else { return text }
        return "\""
            + text.split(separator: "\"", omittingEmptySubsequences: false)
            .joined(separator: "\"\"") + "\""
    }
}
