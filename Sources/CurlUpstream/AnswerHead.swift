internal import ProxyGPT

/// The head of an answer, gathered from the lines that libcurl hands over one at a time: interim
/// heads are passed over, and so are the trailers behind the body.
struct AnswerHead {
    /// What a line has brought.
    enum Step: Equatable {
        case more
        /// The final answer's head is whole.
        case whole
        /// A trailer, of which nobody learns.
        case trailer
        case broken(String)
    }

    /// The most that all heads of an answer may have, interim ones included, in bytes.
    static let limit = 64 * 1024

    private(set) var status = 0
    private(set) var headers: [Header] = []
    /// Whether the connection speaks HTTP/2, where it is shared.
    private(set) var isMultiplexed = false
    /// What Content-Length says.
    private var declaredLength: Int64?
    private var isEncoded = false
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
            isWhole = status >= 200
            return isWhole ? .whole : .more
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
        isMultiplexed = line.starts(with: "HTTP/2".utf8)
        isInside = true
        headers.removeAll(keepingCapacity: true)
        declaredLength = nil
        isEncoded = false
        return .more
    }

    /// The body's length, where the head alone tells it.
    var bodyLength: Int64? {
        if status == 204 || status == 304 { return 0 }
        return isEncoded ? nil : declaredLength
    }

    /// Adds a header. A line that is none is passed over: it has no meaning that could be kept.
    private mutating func add(_ line: Slice<UnsafeRawBufferPointer>) {
        guard let colon = line.firstIndex(of: UInt8(ascii: ":")) else { return }
        let name = line[..<colon]
        guard !name.isEmpty, name.allSatisfy(isTokenByte) else { return }
        let header = Header(
            String(decoding: name, as: UTF8.self), text(line[line.index(after: colon)...]))
        if equalIgnoringCase(header.name, "content-length") { declaredLength = Int64(header.value) }
        if equalIgnoringCase(header.name, "transfer-encoding") { isEncoded = true }
        headers.append(header)
    }

    /// Appends a folded line to the header before it, as RFC 9112, 5.2, wants it.
    private mutating func fold(_ line: Slice<UnsafeRawBufferPointer>) {
        guard let last = headers.popLast() else { return }
        headers.append(Header(last.name, last.value + " " + text(line)))
    }

    /// A value without the white space around it. What is no UTF-8 is taken for Latin-1, which is
    /// what RFC 9110, 5.5, remembers of such bytes; control bytes become spaces.
    private func text(_ bytes: Slice<UnsafeRawBufferPointer>) -> String {
        var bytes = bytes
        while let first = bytes.first, isBlank(first) { bytes.removeFirst() }
        while let last = bytes.last, isBlank(last) { bytes.removeLast() }
        if bytes.allSatisfy({ $0 >= 0x20 && $0 < 0x7F }) {
            return String(decoding: bytes, as: UTF8.self)
        }
        let clean = bytes.map { ($0 < 0x20 && $0 != 0x09) || $0 == 0x7F ? 0x20 : $0 }
        if let text = String(validating: clean, as: UTF8.self) { return text }
        return String(String.UnicodeScalarView(clean.map { Unicode.Scalar($0) }))
    }

    private func isBlank(_ byte: UInt8) -> Bool {
        byte == UInt8(ascii: " ") || byte == UInt8(ascii: "\t")
    }
}

/// Tells whether a byte may stand in a method or a header's name (RFC 9110, 5.6.2).
func isTokenByte(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"):
        true
    case UInt8(ascii: "!"), UInt8(ascii: "#"), UInt8(ascii: "$"), UInt8(ascii: "%"),
        UInt8(ascii: "&"), UInt8(ascii: "'"), UInt8(ascii: "*"), UInt8(ascii: "+"),
        UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "^"), UInt8(ascii: "_"),
        UInt8(ascii: "`"), UInt8(ascii: "|"), UInt8(ascii: "~"):
        true
    default:
        false
    }
}
