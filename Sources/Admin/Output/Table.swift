/// Rows of texts in aligned columns. Texts from the database are made fit for a terminal.
struct Table {
    private let titles: [String]
    /// Right-aligned columns: numbers.
    private let rightAligned: Set<Int>
    private var rows: [[String]] = []
    /// The widths of the columns in earlier lines.
    private var widths: [Int] = []

    /// - Parameter titles: the titles of columns; `>` marks a column of numbers.
    init(_ titles: String...) {
        self.titles = titles.map { title in
            String(title.utf8.first == Self.numberMark ? title.utf8.dropFirst() : title.utf8[...])
                ?? title
        }
        rightAligned = Set(titles.indices.filter { titles[$0].utf8.first == Self.numberMark })
    }

    private static let numberMark = UInt8(ascii: ">")

    mutating func add(_ row: [String]) {
        rows.append(row.map { TerminalText.line($0) })
    }

    var isEmpty: Bool { rows.isEmpty }

    /// The table's lines, the titles first.
    var lines: [String] {
        var table = self
        return table.takeLines()
    }

    /// The lines of the rows since the last call, with the titles before the first ones. The columns of a
    /// long table get wider where they must.
    mutating func takeLines() -> [String] {
        let all = widths.isEmpty ? [titles] + rows : rows
        widths = titles.indices.map { column in
            all.reduce(column < widths.count ? widths[column] : 0) {
                max($0, column < $1.count ? TerminalText.width($1[column]) : 0)
            }
        }
        rows = []
        return all.map { line($0, widths) }
    }

    private func line(_ row: [String], _ widths: [Int]) -> String {
        var line = ""
        for (column, text) in row.enumerated() {
            let width = column < widths.count ? widths[column] : 0
            let blanks = String(repeating: " ", count: max(0, width - TerminalText.width(text)))
            if column > 0 { line += "  " }
            line += rightAligned.contains(column) ? blanks + text : text + blanks
        }
        while line.utf8.last == 0x20 { line.unicodeScalars.removeLast() }
        return line
    }
}

/// Names with values, a line each.
struct Sheet {
    private var entries: [(name: String, value: String)] = []

    mutating func add(_ name: String, _ value: String) {
        entries.append((name, value))
    }

    mutating func add(_ name: String, _ value: String?) {
        if let value { entries.append((name, value)) }
    }

    var lines: [String] {
        let width = entries.reduce(0) { max($0, $1.name.count) }
        return entries.map { name, value in
            name + String(repeating: " ", count: width - name.count + 2) + TerminalText.line(value)
        }
    }
}
