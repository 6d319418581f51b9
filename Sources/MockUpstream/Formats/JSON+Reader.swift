extension JSON {
    /// Says that a text is no JSON, and from which byte on.
    struct SyntaxError: Error, Equatable {
        let offset: Int
    }

    /// Reads one JSON text in UTF-8 (RFC 8259), nested at most 64 levels.
    init(reading bytes: [UInt8]) throws(SyntaxError) {
        var reader = Reader(bytes: bytes)
        reader.skipSpace()
        self = try reader.value(depth: 0)
        reader.skipSpace()
        guard reader.peek == nil else { throw reader.problem }
    }

    /// A cursor over the text; every byte is looked at through `peek`, which knows the end.
    private struct Reader {
        let bytes: [UInt8]
        var offset = 0

        var peek: UInt8? { offset < bytes.count ? bytes[offset] : nil }
        var problem: SyntaxError { SyntaxError(offset: offset) }

        mutating func skipSpace() {
            while let byte = peek, byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 {
                offset += 1
            }
        }

        mutating func take(_ byte: UInt8) -> Bool {
            guard peek == byte else { return false }
            offset += 1
            return true
        }

        mutating func value(depth: Int) throws(SyntaxError) -> JSON {
            guard depth < 64, let byte = peek else { throw problem }
            switch byte {
            case UInt8(ascii: "{"): return try object(depth: depth)
            case UInt8(ascii: "["): return try array(depth: depth)
            case UInt8(ascii: "\""): return .string(try string())
            case UInt8(ascii: "t"): return try word("true", .bool(true))
            case UInt8(ascii: "f"): return try word("false", .bool(false))
            case UInt8(ascii: "n"): return try word("null", .null)
            default: return try number()
            }
        }

        mutating func word(_ text: StaticString, _ value: JSON) throws(SyntaxError) -> JSON {
            for byte in text.description.utf8 {
                guard take(byte) else { throw problem }
            }
            return value
        }

        mutating func object(depth: Int) throws(SyntaxError) -> JSON {
            offset += 1
            var members: [Member] = []
            skipSpace()
            if take(UInt8(ascii: "}")) { return .object(members) }
            while true {
                skipSpace()
                guard peek == UInt8(ascii: "\"") else { throw problem }
                let name = try string()
                skipSpace()
                guard take(UInt8(ascii: ":")) else { throw problem }
                skipSpace()
                members.append(Member(name: name, value: try value(depth: depth + 1)))
                skipSpace()
                if take(UInt8(ascii: "}")) { return .object(members) }
                guard take(UInt8(ascii: ",")) else { throw problem }
            }
        }

        mutating func array(depth: Int) throws(SyntaxError) -> JSON {
            offset += 1
            var elements: [JSON] = []
            skipSpace()
            if take(UInt8(ascii: "]")) { return .array(elements) }
            while true {
                skipSpace()
                elements.append(try value(depth: depth + 1))
                skipSpace()
                if take(UInt8(ascii: "]")) { return .array(elements) }
                guard take(UInt8(ascii: ",")) else { throw problem }
            }
        }

        mutating func number() throws(SyntaxError) -> JSON {
            let start = offset
            var isInteger = true
            _ = take(UInt8(ascii: "-"))
            if !take(UInt8(ascii: "0")) { try digits() }
            if take(UInt8(ascii: ".")) {
                isInteger = false
                try digits()
            }
            if take(UInt8(ascii: "e")) || take(UInt8(ascii: "E")) {
                isInteger = false
                if !take(UInt8(ascii: "+")) { _ = take(UInt8(ascii: "-")) }
                try digits()
            }
            let text = String(decoding: bytes[start..<offset], as: UTF8.self)
            if isInteger, let value = Int(text) { return .integer(value) }
            guard let value = Double(text), value.isFinite else { throw problem }
            return .number(value)
        }

        mutating func digits() throws(SyntaxError) {
            let start = offset
            while let byte = peek, (0x30...0x39).contains(byte) { offset += 1 }
            guard offset > start else { throw problem }
        }

        mutating func string() throws(SyntaxError) -> String {
            offset += 1
            var text = ""
            var start = offset
            while let byte = peek {
                switch byte {
                case UInt8(ascii: "\""):
                    text += try plain(from: start)
                    offset += 1
                    return text
                case UInt8(ascii: "\\"):
                    text += try plain(from: start)
                    offset += 1
                    text.unicodeScalars.append(try escape())
                    start = offset
                case 0..<0x20:
                    throw problem
                default:
                    offset += 1
                }
            }
            throw problem
        }

        func plain(from start: Int) throws(SyntaxError) -> String {
            guard let text = String(validating: bytes[start..<offset], as: UTF8.self) else {
                throw SyntaxError(offset: start)
            }
            return text
        }

        mutating func escape() throws(SyntaxError) -> Unicode.Scalar {
            guard let byte = peek else { throw problem }
            offset += 1
            switch byte {
            case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"):
                return Unicode.Scalar(byte)
            case UInt8(ascii: "b"): return "\u{8}"
            case UInt8(ascii: "f"): return "\u{C}"
            case UInt8(ascii: "n"): return "\n"
            case UInt8(ascii: "r"): return "\r"
            case UInt8(ascii: "t"): return "\t"
            case UInt8(ascii: "u"): return try codePoint()
            default: throw problem
            }
        }

        mutating func codePoint() throws(SyntaxError) -> Unicode.Scalar {
            let first = try fourHexDigits()
            if let scalar = Unicode.Scalar(first) { return scalar }
            // Half of a surrogate pair: the other half has to follow.
            guard first < 0xDC00, take(UInt8(ascii: "\\")), take(UInt8(ascii: "u")) else {
                throw problem
            }
            let second = try fourHexDigits()
            guard (0xDC00...0xDFFF).contains(second),
                let scalar = Unicode.Scalar(0x10000 + (first - 0xD800) << 10 + (second - 0xDC00))
            else { throw problem }
            return scalar
        }

        mutating func fourHexDigits() throws(SyntaxError) -> UInt32 {
            var value: UInt32 = 0
            for _ in 0..<4 {
                guard let byte = peek, let digit = hexDigit(byte) else { throw problem }
                value = value << 4 | UInt32(digit)
                offset += 1
            }
            return value
        }
    }
}

/// The value of an ASCII hexadecimal digit.
func hexDigit(_ byte: UInt8) -> UInt8? {
    switch byte {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0")
    case UInt8(ascii: "a")...UInt8(ascii: "f"): byte - UInt8(ascii: "a") + 10
    case UInt8(ascii: "A")...UInt8(ascii: "F"): byte - UInt8(ascii: "A") + 10
    default: nil
    }
}
