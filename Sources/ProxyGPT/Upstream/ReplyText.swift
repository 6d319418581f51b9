/// Makes valid text of a reply's bytes, which arrive in pieces that are cut anywhere.
///
/// The bytes are UTF-8, in which a `\u` escape that names half a surrogate pair stands as three bytes
/// of its own (as CESU-8 has it). Two halves that meet become their character, also when one delta
/// ends with the first and the next delta begins with the second. A half without the other one, and
/// bytes that are no UTF-8, become U+FFFD. Null characters are left out, which not every database takes.
struct ReplyText: Sendable {
    /// The text so far, at most `limit` bytes.
    private(set) var text = ""
    /// Bytes of an incomplete character, at most five.
    private(set) var pending: [UInt8]
    /// Whether the text was longer than `limit` bytes.
    private(set) var isCut = false
    private let limit: Int

    /// - Parameter pending: the incomplete character at the end of the text before.
    init(limit: Int, pending: [UInt8] = []) {
        self.limit = limit
        self.pending = pending
    }

    mutating func append(_ bytes: some Collection<UInt8>) {
        guard !isCut, !bytes.isEmpty else { return }
        if pending.isEmpty, text.utf8.count + bytes.count <= limit, !bytes.contains(0),
            let valid = String(validating: bytes, as: UTF8.self)
        {
            text += valid
        } else {
            let all = pending + bytes
            pending = []
            add(repaired(all))
        }
    }

    /// Appends text that was read from this text's end on.
    mutating func append(_ next: ReplyText) {
        guard !isCut else { return }
        pending = next.pending
        if text.utf8.count + next.text.utf8.count <= limit {
            text += next.text
        } else {
            add(Array(next.text.utf8))
        }
        isCut = isCut || next.isCut
    }

    /// Takes the end: an incomplete character becomes U+FFFD.
    mutating func finish() {
        guard !pending.isEmpty else { return }
        pending = []
        add(Self.replacement)
    }

    private static let replacement: [UInt8] = [0xEF, 0xBF, 0xBD]

    private mutating func add(_ valid: [UInt8]) {
        let room = limit - text.utf8.count
        guard valid.count > room else {
            text += String(decoding: valid, as: UTF8.self)
            return
        }
        isCut = true
        var end = max(0, room)
        while end > 0, valid[end] & 0xC0 == 0x80 { end -= 1 }
        text += String(decoding: valid[..<end], as: UTF8.self)
    }

    private mutating func repaired(_ bytes: [UInt8]) -> [UInt8] {
        var result: [UInt8] = []
        result.reserveCapacity(bytes.count + 8)
        var index = 0
        while index < bytes.count {
            if bytes[index] < 0x80 {
                if bytes[index] != 0 { result.append(bytes[index]) }
                index += 1
                continue
            }
            switch Self.sequence(bytes, at: index) {
            case .whole(let length):
                result += bytes[index..<(index + length)]
                index += length
            case .broken(let length):
                result += Self.replacement
                index += length
            case .highSurrogate:
                switch Self.lowSurrogate(bytes, at: index + 3) {
                case .some(let low):
                    Self.append(Self.unit(bytes, at: index), low, to: &result)
                    index += 6
                case .none where Self.mayBecomeLowSurrogate(bytes, at: index + 3):
                    pending = Array(bytes[index...])
                    return result
                case .none:
                    result += Self.replacement
                    index += 3
                }
            case .begun:
                pending = Array(bytes[index...])
                return result
            }
        }
        return result
    }

    // MARK: - Characters

    private enum Sequence {
        case whole(Int)
        /// No character begins here; so many bytes become one U+FFFD.
        case broken(Int)
        case highSurrogate
        /// The bytes end before the character does.
        case begun
    }

    /// Looks at the bytes beyond ASCII that begin at `start` (Unicode 15, table 3-7).
    private static func sequence(_ bytes: [UInt8], at start: Int) -> Sequence {
        let length: Int
        var second: ClosedRange<UInt8> = 0x80...0xBF
        switch bytes[start] {
        case 0xC2...0xDF: length = 2
        case 0xE0: (length, second) = (3, 0xA0...0xBF)
        case 0xE1...0xEF: length = 3
        case 0xF0: (length, second) = (4, 0x90...0xBF)
        case 0xF1...0xF3: length = 4
        case 0xF4: (length, second) = (4, 0x80...0x8F)
        default: return .broken(1)
        }
        for offset in 1..<length {
            guard start + offset < bytes.count else { return .begun }
            let range = offset == 1 ? second : 0x80...0xBF
            guard range.contains(bytes[start + offset]) else { return .broken(offset) }
        }
        guard bytes[start] == 0xED, bytes[start + 1] >= 0xA0 else { return .whole(length) }
        return bytes[start + 1] < 0xB0 ? .highSurrogate : .broken(3)
    }

    /// The code unit that three bytes hold.
    private static func unit(_ bytes: [UInt8], at start: Int) -> UInt32 {
        UInt32(bytes[start] & 0x0F) << 12 | UInt32(bytes[start + 1] & 0x3F) << 6
            | UInt32(bytes[start + 2] & 0x3F)
    }

    private static func lowSurrogate(_ bytes: [UInt8], at start: Int) -> UInt32? {
        guard start + 2 < bytes.count, bytes[start] == 0xED,
            (0xB0...0xBF).contains(bytes[start + 1]), bytes[start + 2] & 0xC0 == 0x80
        else { return nil }
        return unit(bytes, at: start)
    }

    private static func mayBecomeLowSurrogate(_ bytes: [UInt8], at start: Int) -> Bool {
        switch bytes.count - start {
        case ...0: true
        case 1: bytes[start] == 0xED
        case 2: bytes[start] == 0xED && (0xB0...0xBF).contains(bytes[start + 1])
        default: false
        }
    }

    private static func append(_ high: UInt32, _ low: UInt32, to result: inout [UInt8]) {
        let scalar = 0x10000 + (high & 0x3FF) << 10 + (low & 0x3FF)
        result.append(UInt8(0xF0 | scalar >> 18))
        result.append(UInt8(0x80 | scalar >> 12 & 0x3F))
        result.append(UInt8(0x80 | scalar >> 6 & 0x3F))
        result.append(UInt8(0x80 | scalar & 0x3F))
    }
}
