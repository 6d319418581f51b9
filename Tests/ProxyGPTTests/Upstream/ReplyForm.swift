import ProxyGPT
import Testing

/// An upstream's answer, and what is to be read of it.
struct ReplyForm: Sendable, CustomTestStringConvertible {
    enum Expected: Sendable {
        case reply(String, Usage? = nil)
        case problem(ReplyReader.Problem, kept: String = "")
    }

    let name: String
    let bytes: [UInt8]
    let expected: Expected
    /// Whether the reading ends before the bytes do, or with their last.
    let isDone: Bool

    init(_ name: String, _ text: String, _ expected: Expected, isDone: Bool = false) {
        self.init(name, bytes: Array(text.utf8), expected, isDone: isDone)
    }

    init(_ name: String, bytes: [UInt8], _ expected: Expected, isDone: Bool = false) {
        self.name = name
        self.bytes = bytes
        self.expected = expected
        self.isDone = isDone
    }

    var testDescription: String { name }
}

extension String {
    func replacingLines(_ end: String) -> String {
        split(separator: "\n", omittingEmptySubsequences: false).joined(separator: end)
    }

    /// A whole answer's choice, named 1, before this one.
    func asSecondOf(_ choice: String) -> String {
        let first = replacing("\"index\":0", with: "\"index\":1").dropLast(2)
        return first + "," + choice + "]}"
    }
}

extension [UInt8] {
    /// The bytes with others in the place of `§`.
    func cut(with bytes: [UInt8]) -> [UInt8] {
        let mark = Array("§".utf8)
        guard let start = indices.first(where: { self[$0...].starts(with: mark) }) else {
            return self
        }
        return self[..<start] + bytes + self[(start + mark.count)...]
    }
}
