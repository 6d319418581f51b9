// Parses one JSON object of an upstream's answer while it arrives, cut anywhere.
//
// Knows the syntax; `ReplyEvent` knows the meaning of members. Holds neither the text nor a tree of
// it, so that an event of 16 MiB costs only the values that are kept. Accepts NaN and infinities,
// control characters in strings and bytes that are not UTF-8, since a reply depends on it.

internal import Formats

/// Reads one JSON object piece by piece and gathers the values of a reply.
struct ReplyEventParser: Sendable {
    enum Step {
        /// All bytes are taken, and the object goes on.
        case more
        /// The byte at the index ends a line; it is not taken.
        case lineEnd
        /// The object is whole.
        case whole
        /// The byte at the index cannot stand there; it is not taken.
        case malformed
    }

    private enum State {
        case value, firstElement, afterValue
        case firstName, name, colon
        case string, escape, hexadecimal, word
    }

    private static let nameLimit = 32
    private static let wordLimit = 40

    private var state = State.firstName
    private var depth = 0
    /// A bit for each open array or object: 1 for an object.
    private var objects: UInt64 = 0
    private var isName = false
    private var isWanted = false
    /// The part of the current name, string or literal that is not handed on yet.
    private var scratch: [UInt8] = []
    private var unit: UInt32 = 0
    private var digits = 0
    private(set) var event = ReplyEvent(limit: 0, pending: [])

    /// Whether an object has begun and is not whole yet.
    var isOpen: Bool { depth > 0 }

    /// Whether the next byte belongs to a string, in which no line ends.
    var isInString: Bool { state == .string || state == .escape || state == .hexadecimal }

    /// Begins an object, whose `{` has been read.
    mutating func begin(limit: Int, pending: [UInt8]) {
        event = ReplyEvent(limit: limit, pending: pending)
        state = .firstName
        depth = 1
        objects = 1
    }

    /// Drops the object that has begun.
    mutating func abandon() {
        depth = 0
        scratch.removeAll(keepingCapacity: true)
    }

    /// Reads from `index` on and moves it to the first byte that was not read.
    mutating func feed(_ bytes: [UInt8], _ index: inout Int) -> Step {
        while index < bytes.count {
            let byte = bytes[index]
            switch state {
            case .string:
                if let step = readString(bytes, &index) { return step }
                continue
            case .escape:
                guard readEscape(byte) else { return .malformed }
            case .hexadecimal:
                guard readHexadecimal(byte) else { return .malformed }
            case .word:
                if Self.isWordByte(byte) {
                    scratch.append(byte)
                    guard scratch.count <= Self.wordLimit else { return .malformed }
                } else {
                    guard endWord() else { return .malformed }
                    continue
                }
            default:
                if byte == 0x20 || byte == 0x09 { break }
                if byte == 0x0A || byte == 0x0D { return .lineEnd }
                guard readStructure(byte) else { return .malformed }
                if depth == 0 {
                    index += 1
                    return .whole
                }
            }
            index += 1
        }
        flush()
        return .more
    }

    // MARK: - Structure

    private mutating func readStructure(_ byte: UInt8) -> Bool {
        switch (byte, state) {
        case (UInt8(ascii: "\""), .firstName), (UInt8(ascii: "\""), .name):
            isName = true
            isWanted = true
            state = .string
        case (UInt8(ascii: "\""), .value), (UInt8(ascii: "\""), .firstElement):
            isName = false
            isWanted = event.beginString()
            state = .string
        case (UInt8(ascii: ":"), .colon): state = .value
        case (UInt8(ascii: ","), .afterValue): state = objects & 1 == 1 ? .name : .value
        case (UInt8(ascii: "{"), .value), (UInt8(ascii: "{"), .firstElement),
            (UInt8(ascii: "["), .value), (UInt8(ascii: "["), .firstElement):
            return open(isObject: byte == UInt8(ascii: "{"))
        case (UInt8(ascii: "}"), .firstName), (UInt8(ascii: "]"), .firstElement),
            (UInt8(ascii: "}"), .afterValue), (UInt8(ascii: "]"), .afterValue):
            guard (byte == UInt8(ascii: "}")) == (objects & 1 == 1) else { return false }
            depth -= 1
            objects >>= 1
            state = .afterValue
            event.close()
        case (_, .value), (_, .firstElement):
            guard Self.beginsWord(byte) else { return false }
            scratch.append(byte)
            state = .word
        default: return false
        }
        return true
    }

    private mutating func open(isObject: Bool) -> Bool {
        guard depth < JSONValue.depthLimit else { return false }
        depth += 1
        objects = objects << 1 | (isObject ? 1 : 0)
        state = isObject ? .firstName : .firstElement
        event.open(isObject: isObject)
        return true
    }

    /// Whether a number, or one of the literals below, begins so. No field of an event does.
    private static func beginsWord(_ byte: UInt8) -> Bool {
        (0x30...0x39).contains(byte) || "-tfnNI".utf8.contains(byte)
    }

    private static func isWordByte(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "a")...UInt8(ascii: "z"),
            UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "-"), UInt8(ascii: "+"),
            UInt8(ascii: "."):
            true
        default: false
        }
    }

    /// Takes a word that has ended: a literal or a number.
    private mutating func endWord() -> Bool {
        defer { scratch.removeAll(keepingCapacity: true) }
        let isNumber = scratch.contains { (0x30...0x39).contains($0) }
        let literals: [StaticString] = ["null", "true", "false", "NaN", "Infinity", "-Infinity"]
        guard
            isNumber
                || literals.contains(where: { literal in
                    literal.withUTF8Buffer { scratch.elementsEqual($0) }
                })
        else { return false }
        event.take(word: scratch)
        state = .afterValue
        return true
    }

    // MARK: - Strings

    /// Reads a string as far as it goes; nil where it has ended or an escape begins.
    private mutating func readString(_ bytes: [UInt8], _ index: inout Int) -> Step? {
        let start = index
        var end = start
        while end < bytes.count, Self.isPlain(bytes[end]) { end += 1 }
        keep(bytes[start..<end])
        index = end
        guard end < bytes.count else { return nil }
        switch bytes[end] {
        case UInt8(ascii: "\""):
            index += 1
            endString()
        case UInt8(ascii: "\\"):
            index += 1
            state = .escape
        default:
            return .lineEnd
        }
        return nil
    }

    private static func isPlain(_ byte: UInt8) -> Bool {
        byte != UInt8(ascii: "\"") && byte != UInt8(ascii: "\\") && byte != 0x0A && byte != 0x0D
    }

    private mutating func keep(_ byte: UInt8) {
        keep(CollectionOfOne(byte))
    }

    private mutating func keep(_ bytes: some Collection<UInt8>) {
        guard isWanted else { return }
        if isName && scratch.count + bytes.count > Self.nameLimit {
            // No name of interest is as long as that.
            isWanted = false
            scratch.removeAll(keepingCapacity: true)
        } else {
            scratch.append(contentsOf: bytes)
        }
    }

    private mutating func endString() {
        if isName {
            event.take(name: isWanted ? scratch : [])
            scratch.removeAll(keepingCapacity: true)
            state = .colon
        } else {
            flush()
            if isWanted { event.endString() }
            state = .afterValue
        }
    }

    /// Hands on the bytes of a used string.
    private mutating func flush() {
        guard state == .string || state == .escape || state == .hexadecimal, !isName, isWanted
        else { return }
        event.take(text: scratch)
        scratch.removeAll(keepingCapacity: true)
    }

    private mutating func readEscape(_ byte: UInt8) -> Bool {
        state = .string
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): keep(byte)
        case UInt8(ascii: "b"): keep(0x08)
        case UInt8(ascii: "f"): keep(0x0C)
        case UInt8(ascii: "n"): keep(0x0A)
        case UInt8(ascii: "r"): keep(0x0D)
        case UInt8(ascii: "t"): keep(0x09)
        case UInt8(ascii: "u"):
            state = .hexadecimal
            (unit, digits) = (0, 0)
        default: return false
        }
        return true
    }

    private mutating func readHexadecimal(_ byte: UInt8) -> Bool {
        guard let value = hexadecimalValue(byte) else { return false }
        unit = unit << 4 | UInt32(value)
        digits += 1
        guard digits == 4 else { return true }
        state = .string
        // Half a surrogate pair stands as three bytes: `ReplyText` joins them.
        if unit < 0x80 {
            keep(UInt8(unit))
            return true
        }
        if unit < 0x800 {
            keep(UInt8(0xC0 | unit >> 6))
        } else {
            keep(UInt8(0xE0 | unit >> 12))
            keep(UInt8(0x80 | unit >> 6 & 0x3F))
        }
        keep(UInt8(0x80 | unit & 0x3F))
        return true
    }
}
