/// Lines of comma-separated values (RFC 4180). Values are read as bytes: readers of the line take a comma
/// for one even where a combining mark follows it.
enum CSV {
    /// One line without its end. Values come on one line each, and a value that a spreadsheet would
    /// take for a formula has an apostrophe before it.
    static func line(_ values: [String?]) -> String {
        var line: [UInt8] = []
        for (index, value) in values.enumerated() {
            if index > 0 { line.append(UInt8(ascii: ",")) }
            if let value { append(value, to: &line) }
        }
        return String(decoding: line, as: UTF8.self)
    }

    private static let quotationMark = UInt8(ascii: "\"")
    /// What a spreadsheet takes for the beginning of a formula. `TerminalText` leaves no others: tabs
    /// and carriage returns are shown as escapes.
    private static let formulaBytes = Array("=+-@".utf8)

    private static func append(_ value: String, to line: inout [UInt8]) {
        var text = Array(TerminalText.line(value).utf8)
        if let first = text.first, formulaBytes.contains(first), !isNumber(text) {
            text.insert(UInt8(ascii: "'"), at: 0)
        }
        guard text.contains(where: { $0 == UInt8(ascii: ",") || $0 == quotationMark }) else {
            line += text
            return
        }
        line.append(quotationMark)
        for byte in text {
            if byte == quotationMark { line.append(quotationMark) }
            line.append(byte)
        }
        line.append(quotationMark)
    }

    private static func isNumber(_ text: [UInt8]) -> Bool {
        text.count <= 20 && Int64(String(decoding: text, as: UTF8.self)) != nil
    }
}
