/// Says what keeps a text from being JSON.
package enum JSONError: Error, Equatable, Sendable {
    /// Something else was expected at this offset (in bytes).
    case malformed(offset: Int)
    case tooDeep
    /// There are more values than the reader allows.
    case tooMany
}

extension JSONError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .malformed(let offset): "not JSON at byte \(offset)"
        case .tooDeep: "JSON that is nested too deeply"
        case .tooMany: "JSON with too many values"
        }
    }
}

extension JSONValue {
    /// How many arrays and objects may stand inside one another.
    package static let depthLimit = 64

    /// Reads one value that fills the whole of `bytes`, white space aside.
    /// - Parameter valueLimit: the most values, arrays and objects included, that may be made: each
    ///   takes memory and time, and a mebibyte has room for half a million.
    package init(
        parsing bytes: some Collection<UInt8>, valueLimit: Int = .max
    ) throws(JSONError) {
        self = try Array(bytes).withUnsafeBufferPointer { bytes throws(JSONError) in
            var parser = JSONParser(bytes: bytes, valueLimit: valueLimit)
            return try parser.document()
        }
    }
}

/// Reads bytes that outlive it. Every access is behind a look at the count.
private struct JSONParser {
    private let bytes: UnsafeBufferPointer<UInt8>
    private var valuesLeft: Int
    private var position = 0
    private var depth = 0

    init(bytes: UnsafeBufferPointer<UInt8>, valueLimit: Int) {
        self.bytes = bytes
        valuesLeft = valueLimit
    }

    private var next: UInt8? {
        position < bytes.count ? bytes[position] : nil
    }

    private var malformed: JSONError { .malformed(offset: position) }

    mutating func document() throws(JSONError) -> JSONValue {
        skipSpace()
        let value = try value()
        skipSpace()
        guard next == nil else { throw malformed }
        return value
    }

    private mutating func skipSpace() {
        while let byte = next, byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 {
            position += 1
        }
    }

    private mutating func value() throws(JSONError) -> JSONValue {
        guard valuesLeft > 0 else { throw .tooMany }
        valuesLeft -= 1
        switch next {
        case UInt8(ascii: "{"):
            return try nested { parser throws(JSONError) in try parser.object() }
        case UInt8(ascii: "["): return try nested { parser throws(JSONError) in try parser.array() }
        case UInt8(ascii: "\""): return .string(try string())
        case UInt8(ascii: "t"): return try literal("true", .boolean(true))
        case UInt8(ascii: "f"): return try literal("false", .boolean(false))
        case UInt8(ascii: "n"): return try literal("null", .null)
        default: return .number(try number())
        }
    }

    private mutating func nested(
        _ read: (inout JSONParser) throws(JSONError) -> JSONValue
    ) throws(JSONError) -> JSONValue {
        guard depth < JSONValue.depthLimit else { throw .tooDeep }
        depth += 1
        position += 1
        let value = try read(&self)
        depth -= 1
        return value
    }

    private mutating func object() throws(JSONError) -> JSONValue {
        var members: [(name: String, value: JSONValue)] = []
        skipSpace()
        if next == UInt8(ascii: "}") {
            position += 1
            return .object(members)
        }
        while true {
            skipSpace()
            guard next == UInt8(ascii: "\"") else { throw malformed }
            let name = try string()
            skipSpace()
            guard next == UInt8(ascii: ":") else { throw malformed }
            position += 1
            skipSpace()
            members.append((name: name, value: try value()))
            if try endsList(with: UInt8(ascii: "}")) { return .object(members) }
        }
    }

    private mutating func array() throws(JSONError) -> JSONValue {
        var elements: [JSONValue] = []
        skipSpace()
        if next == UInt8(ascii: "]") {
            position += 1
            return .array(elements)
        }
        while true {
            skipSpace()
            elements.append(try value())
            if try endsList(with: UInt8(ascii: "]")) { return .array(elements) }
        }
    }

    private mutating func endsList(with end: UInt8) throws(JSONError) -> Bool {
        skipSpace()
        defer { position += 1 }
        if next == end { return true }
        guard next == UInt8(ascii: ",") else { throw malformed }
        return false
    }

    private mutating func literal(
        _ word: StaticString, _ value: JSONValue
    ) throws(JSONError) -> JSONValue {
        let length = word.utf8CodeUnitCount
        guard bytes.count - position >= length else { throw malformed }
        for index in 0..<length where bytes[position + index] != word.utf8Start[index] {
            throw malformed
        }
        position += length
        return value
    }

    private mutating func number() throws(JSONError) -> String {
        let start = position
        if next == UInt8(ascii: "-") { position += 1 }
        if next == UInt8(ascii: "0") { position += 1 } else { try digits() }
        if next == UInt8(ascii: ".") {
            position += 1
            try digits()
        }
        if next == UInt8(ascii: "e") || next == UInt8(ascii: "E") {
            position += 1
            if next == UInt8(ascii: "+") || next == UInt8(ascii: "-") { position += 1 }
            try digits()
        }
        let digits = UnsafeBufferPointer(rebasing: bytes[start..<position])
        return String(decoding: digits, as: UTF8.self)
    }

    private mutating func digits() throws(JSONError) {
        let start = position
        while let byte = next, byte >= UInt8(ascii: "0"), byte <= UInt8(ascii: "9") {
            position += 1
        }
        guard position > start else { throw malformed }
    }

    private mutating func string() throws(JSONError) -> String {
        position += 1
        let start = position
        skipPlain()
        if next == UInt8(ascii: "\"") {
            defer { position += 1 }
            return try text(
                UnsafeBufferPointer(rebasing: bytes[start..<position]), from: start)
        }
        var content = Array(bytes[start..<position])
        while true {
            guard let byte = next, byte >= 0x20 else { throw malformed }
            position += 1
            switch byte {
            case UInt8(ascii: "\""): return try text(content, from: start)
            case UInt8(ascii: "\\"): try escape(into: &content)
            default:
                let first = position - 1
                skipPlain()
                content.append(contentsOf: bytes[first..<position])
            }
        }
    }

    /// Goes on to the next byte that does not stand for itself in a string.
    private mutating func skipPlain() {
        var index = position
        while index < bytes.count {
            let byte = bytes[index]
            if byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\") || byte < 0x20 { break }
            index += 1
        }
        position = index
    }

    private func text(
        _ content: some Collection<UInt8>, from start: Int
    ) throws(JSONError) -> String {
        guard let text = String(validating: content, as: UTF8.self) else {
            throw .malformed(offset: start)
        }
        return text
    }

    private mutating func escape(into content: inout [UInt8]) throws(JSONError) {
        guard let byte = next else { throw malformed }
        position += 1
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): content.append(byte)
        case UInt8(ascii: "b"): content.append(0x08)
        case UInt8(ascii: "f"): content.append(0x0C)
        case UInt8(ascii: "n"): content.append(0x0A)
        case UInt8(ascii: "r"): content.append(0x0D)
        case UInt8(ascii: "t"): content.append(0x09)
        case UInt8(ascii: "u"):
            if let bytes = UTF8.encode(try unicodeEscape()) { content.append(contentsOf: bytes) }
        default: throw malformed
        }
    }

    private mutating func unicodeEscape() throws(JSONError) -> Unicode.Scalar {
        let first = try hexadecimalUnit()
        if let scalar = Unicode.Scalar(first) { return scalar }
        // A surrogate: only the high half followed by the low one names a character.
        guard first < 0xDC00, next == UInt8(ascii: "\\") else { throw malformed }
        position += 1
        guard next == UInt8(ascii: "u") else { throw malformed }
        position += 1
        let second = try hexadecimalUnit()
        guard second >= 0xDC00, second <= 0xDFFF,
            let scalar = Unicode.Scalar(
                0x10000 + (UInt32(first) - 0xD800) << 10 + (UInt32(second) - 0xDC00))
        else { throw malformed }
        return scalar
    }

    private mutating func hexadecimalUnit() throws(JSONError) -> UInt16 {
        var unit: UInt16 = 0
        for _ in 0..<4 {
            guard let byte = next, let value = hexadecimalValue(byte) else { throw malformed }
            position += 1
            unit = unit << 4 | UInt16(value)
        }
        return unit
    }
}
