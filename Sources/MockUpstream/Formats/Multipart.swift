// A multipart/form-data body (RFC 7578), read as it arrives.
//
// A value without I/O: bytes in, parts out. Holds one part's head and, of its content, a digest, a
// count and the first bytes, so an upload of any size costs the same memory. Knows no endpoint.

import Credentials

/// Reads the parts of a form, wherever the body happens to be split.
struct MultipartReader {
    /// One part of a form.
    struct Part {
        var name = ""
        var filename: String?
        var byteCount = 0
        /// The first bytes of the content, enough for a form's plain fields.
        var beginning: [UInt8] = []
        let digest = RunningSHA256()

        static let keptBytes = 1024
    }

    private enum Phase {
        case preamble, head, content, epilogue, broken
    }

    private(set) var parts: [Part] = []
    private var phase = Phase.preamble
    /// Bytes that may still turn out to be part of a delimiter or an unfinished head.
    private var pending: [UInt8] = []
    private let delimiter: [UInt8]

    /// Parts are not counted beyond this; a form with more of them is broken.
    private static let maximumParts = 64
    private static let maximumHead = 16 * 1024

    init(boundary: String) {
        delimiter = Array("\r\n--\(boundary)".utf8)
        // The first delimiter has no line end before it when there is no preamble.
        pending = Array("\r\n".utf8)
    }

    /// Whether the closing delimiter has been seen.
    var isComplete: Bool { phase == .epilogue }

    /// The boundary that a Content-Type names.
    static func boundary(inContentType value: String) -> String? {
        var fields = value.split(separator: ";").map(trimmed)
        guard !fields.isEmpty, fields.removeFirst().lowercased() == "multipart/form-data" else {
            return nil
        }
        return attribute("boundary", in: fields)
    }

    mutating func update(_ bytes: some Collection<UInt8>) {
        pending += bytes
        while step() {}
    }

    /// Does one thing with the pending bytes; false when more of them are needed.
    private mutating func step() -> Bool {
        switch phase {
        case .epilogue, .broken:
            pending = []
            return false
        case .preamble, .content:
            return readUpToDelimiter()
        case .head:
            return readHead()
        }
    }

    private mutating func readUpToDelimiter() -> Bool {
        guard let start = firstPending(delimiter) else {
            // All but a possible beginning of the delimiter is content.
            keep(upTo: max(0, pending.count - delimiter.count + 1))
            return false
        }
        let after = start + delimiter.count
        // What follows the delimiter says whether another part comes.
        guard pending.count >= after + 2 else {
            keep(upTo: start)
            return false
        }
        keep(upTo: start)
        let tail = pending[delimiter.count..<(delimiter.count + 2)]
        if tail.elementsEqual("--".utf8) {
            phase = .epilogue
        } else if tail.elementsEqual("\r\n".utf8), parts.count < MultipartReader.maximumParts {
            // The line end stays: it is also the first half of an empty head's end.
            pending.removeFirst(delimiter.count)
            phase = .head
        } else {
            phase = .broken
        }
        return true
    }

    /// Where in the pending bytes the pattern, which begins with a carriage return, first stands.
    private func firstPending(_ pattern: [UInt8]) -> Int? {
        let last = pending.count - pattern.count
        guard last >= 0 else { return nil }
        for start in 0...last where pending[start] == 0x0D {
            if pending[start..<(start + pattern.count)].elementsEqual(pattern) { return start }
        }
        return nil
    }

    /// Moves bytes from the pending ones into the open part.
    private mutating func keep(upTo end: Int) {
        guard end > 0 else { return }
        if phase == .content, var part = parts.popLast() {
            part.byteCount += end
            part.digest.update(pending.span.extracting(0..<end))
            let room = max(0, Part.keptBytes - part.beginning.count)
            part.beginning += pending[..<min(end, room)]
            parts.append(part)
        }
        pending.removeFirst(end)
    }

    private mutating func readHead() -> Bool {
        guard let end = firstPending(Array("\r\n\r\n".utf8)) else {
            if pending.count > MultipartReader.maximumHead { phase = .broken }
            return phase == .broken
        }
        var part = Part()
        let text = String(decoding: pending[..<end], as: UTF8.self)
        for line in text.split(whereSeparator: \.isNewline) {
            let fields = line.split(separator: ";").map(MultipartReader.trimmed)
            guard let first = fields.first?.lowercased(),
                first.hasPrefix("content-disposition:")
            else { continue }
            part.name = MultipartReader.attribute("name", in: fields) ?? ""
            part.filename = MultipartReader.attribute("filename", in: fields)
        }
        parts.append(part)
        pending.removeFirst(end + 4)
        phase = .content
        return true
    }

    private static func attribute(_ name: String, in fields: [Substring]) -> String? {
        for field in fields {
            let cut = field.firstIndex(of: "=") ?? field.endIndex
            guard field[..<cut].lowercased() == name else { continue }
            let value = field[cut...].dropFirst()
            let isQuoted = value.count >= 2 && value.first == "\"" && value.last == "\""
            return String(isQuoted ? value.dropFirst().dropLast() : value)
        }
        return nil
    }

    private static func trimmed(_ text: Substring) -> Substring {
        var text = text.drop { $0 == " " || $0 == "\t" }
        while let last = text.last, last == " " || last == "\t" { text.removeLast() }
        return text
    }
}
