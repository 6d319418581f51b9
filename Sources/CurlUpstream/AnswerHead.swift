internal import Formats
internal import ProxyGPT

/// The head of an answer, gathered from the lines that libcurl hands over one at a time: interim
/// heads are passed over, and so are the trailers behind the body.
struct AnswerHead {
    /// The meaning of a line.
    enum Step: Equatable {
        case more
        /// The final answer's head is whole.
        case whole
        /// A trailer, which is dropped.
        case trailer
        case broken(String)
    }

    /// The most that all heads of an answer may have, interim ones included, in bytes.
    static let limit = 64 * 1024

    private(set) var status = 0
    private(set) var headers: [Header] = []
    /// The last header's value, from its first folded line on.
    private var folded: [UInt8]?
    /// The value of Content-Length, where that alone gives the end of the body.
    private var declaredLength: Int64?
    private(set) var isWhole = false
    private var isInside = false
    private var size = 0

    /// Takes one line, with or without its line break.
    mutating func take(_ raw: UnsafeRawBufferPointer) -> Step {
        if isWhole { return .trailer }
        size += raw.count
        guard size <= Self.limit else { return .broken("the answer's head exceeds 64 KiB") }
        var line = raw[...]
        if line.last == UInt8(ascii: "\n") { line.removeLast() }
        if line.last == UInt8(ascii: "\r") { line.removeLast() }
        guard isInside else { return begin(line) }
        if line.isEmpty {
            isInside = false
            endFold()
            return status >= 200 ? end() : .more
        }
        if isBlank(line[line.startIndex]) { fold(line) } else { add(line) }
        return .more
    }

    private mutating func begin(_ line: Slice<UnsafeRawBufferPointer>) -> Step {
        if line.isEmpty { return .more }
        guard line.starts(with: "HTTP/".utf8), let space = line.firstIndex(of: UInt8(ascii: " "))
        else { return .broken("the answer does not begin like HTTP") }
        let digits = line[line.index(after: space)...].prefix(3)
        guard digits.count == 3, digits.allSatisfy({ $0 >= 0x30 && $0 <= 0x39 }) else {
            return .broken("the answer has no status")
        }
        status = digits.reduce(0) { $0 * 10 + Int($1 - 0x30) }
        guard status >= 100 else { return .broken("the answer has no status") }
        isInside = true
        headers.removeAll(keepingCapacity: true)
        folded = nil
        return .more
    }

    /// The body's length, where the head alone gives it.
    var bodyLength: Int64? {
        status == 204 || status == 304 ? 0 : declaredLength
    }

    /// Ends the head, once the end of the body is certain (RFC 9112, 6.3). Every later reader of
    /// the headers must find the same end: a length that does not hold is removed.
    private mutating func end() -> Step {
        let codings = values(of: "transfer-encoding")
        let lengths = values(of: "content-length")
        if !codings.isEmpty && !lengths.isEmpty {
            guard codings.count == 1, equalIgnoringCase(codings[0], "chunked") else {
                return .broken("the answer has a Content-Length and an unknown Transfer-Encoding")
            }
            headers.removeAll { equalIgnoringCase($0.name, "content-length") }
        } else if let first = lengths.first {
            guard let length = first.utf8.decimalNumber else {
                return .broken("the answer's Content-Length is no number")
            }
            guard lengths.allSatisfy({ $0.utf8.decimalNumber == length }) else {
                return .broken("the answer has two Content-Lengths")
            }
            if lengths.count > 1 { removeRepeatedLengths() }
            declaredLength = length
        }
        isWhole = true
        return .whole
    }

    private func values(of name: String) -> [String] {
        headers.lazy.filter { equalIgnoringCase($0.name, name) }.map(\.value)
    }

    private mutating func removeRepeatedLengths() {
        var isThere = false
        headers.removeAll { header in
            guard equalIgnoringCase(header.name, "content-length") else { return false }
            defer { isThere = true }
            return isThere
        }
    }

    /// Adds a header. A line that is none is passed over: it has no meaning that could be kept.
    private mutating func add(_ line: Slice<UnsafeRawBufferPointer>) {
        guard let colon = line.firstIndex(of: UInt8(ascii: ":")) else { return }
        let name = line[..<colon]
        guard !name.isEmpty, name.allSatisfy(isTokenByte) else { return }
        endFold()
        let bytes = line[line.index(after: colon)...].withoutOuterBlanks
        let text = String(decoding: name, as: UTF8.self)
        if bytes.allSatisfy({ $0 >= 0x20 && $0 < 0x7F }) {
            headers.append(Header(text, String(decoding: bytes, as: UTF8.self)))
        } else {
            headers.append(Header(text, bytes: Self.printable(bytes)))
        }
    }

    /// Appends a folded line to the header before it, as RFC 9112, 5.2, wants it.
    private mutating func fold(_ line: Slice<UnsafeRawBufferPointer>) {
        if folded == nil { folded = headers.last?.bytes }
        folded?.append(UInt8(ascii: " "))
        folded?.append(contentsOf: Self.printable(line.withoutOuterBlanks))
    }

    private mutating func endFold() {
        if let folded, let last = headers.popLast() {
            headers.append(Header(last.name, bytes: folded))
        }
        folded = nil
    }

    /// Control bytes become spaces.
    private static func printable(_ bytes: Slice<UnsafeRawBufferPointer>) -> [UInt8] {
        bytes.map { ($0 < 0x20 && $0 != 0x09) || $0 == 0x7F ? 0x20 : $0 }
    }

    private func isBlank(_ byte: UInt8) -> Bool {
        byte == UInt8(ascii: " ") || byte == UInt8(ascii: "\t")
    }
}
