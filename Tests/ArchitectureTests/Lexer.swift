/// Tells a Swift text's code from its comments and strings. Code that is interpolated into a string
/// counts as code. Bytes are read, since the whole tree is, by a debug build.
struct Lexer {
    private static let lineComment = Array("//".utf8)
    private static let commentStart = Array("/*".utf8)
    private static let commentEnd = Array("*/".utf8)
    private static let longQuote = Array("\"\"\"".utf8)
    private static let quote = UInt8(ascii: "\"")
    private static let hash = UInt8(ascii: "#")
    private static let backslash = UInt8(ascii: "\\")

    private let text: [UInt8]
    private var position = 0
    private var codeBytes: [UInt8] = []
    private(set) var strings: [String] = []

    var code: String { String(decoding: codeBytes, as: UTF8.self) }

    init(_ text: String) {
        self.text = Array(text.utf8)
    }

    private func sees(_ word: [UInt8]) -> Bool {
        guard position + word.count <= text.count else { return false }
        for index in 0..<word.count where text[position + index] != word[index] { return false }
        return true
    }

    mutating func run() {
        readCode(untilParenthesis: false)
    }

    private mutating func readCode(untilParenthesis: Bool) {
        var depth = 0
        while position < text.count {
            let byte = text[position]
            switch byte {
            case UInt8(ascii: "/") where sees(Self.lineComment):
                while position < text.count, text[position] != UInt8(ascii: "\n") { position += 1 }
                continue
            case UInt8(ascii: "/") where sees(Self.commentStart):
                skipComment()
                continue
            case Self.quote,
                Self.hash where beginsString:
                readString()
                continue
            case UInt8(ascii: "("):
                depth += 1
            case UInt8(ascii: ")"):
                if depth == 0 && untilParenthesis { return }
                depth -= 1
            default:
                break
            }
            codeBytes.append(byte)
            position += 1
        }
    }

    /// Whether a string begins here, raw or not.
    private var beginsString: Bool {
        var next = position
        while next < text.count, next < position + 2, text[next] == Self.hash { next += 1 }
        return next < text.count && text[next] == Self.quote
    }

    private mutating func skipComment() {
        var depth = 0
        repeat {
            if sees(Self.commentStart) {
                depth += 1
                position += 2
            } else if sees(Self.commentEnd) {
                depth -= 1
                position += 2
            } else {
                position += 1
            }
        } while depth > 0 && position < text.count
    }

    private mutating func readString() {
        let hashes = Array(text[position...].prefix { $0 == Self.hash })
        position += hashes.count
        let quote = sees(Self.longQuote) ? Self.longQuote : [Self.quote]
        position += quote.count
        codeBytes += [Self.quote, Self.quote]
        let end = quote + hashes
        let interpolation = [Self.backslash] + hashes + [UInt8(ascii: "(")]
        var content: [UInt8] = []
        while position < text.count, !sees(end) {
            if sees(interpolation) {
                position += interpolation.count
                codeBytes.append(UInt8(ascii: " "))
                readCode(untilParenthesis: true)
                codeBytes.append(UInt8(ascii: " "))
                position += 1
                content += Array("…".utf8)
            } else if text[position] == Self.backslash && hashes.isEmpty {
                content += text[position...].prefix(2)
                position += 2
            } else {
                content.append(text[position])
                position += 1
            }
        }
        position += end.count
        strings.append(String(decoding: content, as: UTF8.self))
    }
}
