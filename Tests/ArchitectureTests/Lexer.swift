/// Tells a Swift text's code from its comments and strings. Code that is interpolated into a string
/// counts as code.
struct Lexer {
    private let text: [Character]
    private var position = 0
    private(set) var code = ""
    private(set) var strings: [String] = []

    init(_ text: String) {
        self.text = Array(text)
    }

    private func sees(_ word: String) -> Bool {
        text[position...].starts(with: word)
    }

    mutating func run() {
        readCode(untilParenthesis: false)
    }

    private mutating func readCode(untilParenthesis: Bool) {
        var depth = 0
        while position < text.count {
            if sees("//") {
                while position < text.count, !text[position].isNewline { position += 1 }
            } else if sees("/*") {
                skipComment()
            } else if text[position] == "\"" || sees("#\"") || sees("##\"") {
                readString()
            } else {
                let character = text[position]
                if character == "(" { depth += 1 }
                if character == ")" {
                    if depth == 0 && untilParenthesis { return }
                    depth -= 1
                }
                code.append(character)
                position += 1
            }
        }
    }

    private mutating func skipComment() {
        var depth = 0
        repeat {
            if sees("/*") {
                depth += 1
                position += 2
            } else if sees("*/") {
                depth -= 1
                position += 2
            } else {
                position += 1
            }
        } while depth > 0 && position < text.count
    }

    private mutating func readString() {
        let hashes = String(text[position...].prefix { $0 == "#" })
        position += hashes.count
        let quote = sees("\"\"\"") ? "\"\"\"" : "\""
        position += quote.count
        code += "\"\""
        var content = ""
        while position < text.count, !sees(quote + hashes) {
            if sees("\\" + hashes + "(") {
                position += hashes.count + 2
                code.append(" ")
                readCode(untilParenthesis: true)
                code.append(" ")
                position += 1
                content += "…"
            } else if text[position] == "\\" && hashes.isEmpty {
                content += String(text[position...].prefix(2))
                position += 2
            } else {
                content.append(text[position])
                position += 1
            }
        }
        position += quote.count + hashes.count
        strings.append(content)
    }
}
