/// Checks UTF-8 (RFC 3629) that comes in pieces, at the first byte that cannot be.
struct UTF8Check {
    private var missing = 0
    /// What the next byte may be, while a character is incomplete.
    private var least: UInt8 = 0x80
    private var greatest: UInt8 = 0xBF

    /// Whether the bytes so far end with a whole character.
    var isComplete: Bool { missing == 0 }

    /// Takes a byte; false when the text can no longer be UTF-8.
    mutating func take(_ byte: UInt8) -> Bool {
        if missing > 0 {
            guard byte >= least && byte <= greatest else { return false }
            (least, greatest) = (0x80, 0xBF)
            missing -= 1
            return true
        }
        switch byte {
        case 0x00...0x7F: break
        case 0xC2...0xDF: missing = 1
        case 0xE0: (missing, least) = (2, 0xA0)
        case 0xED: (missing, greatest) = (2, 0x9F)
        case 0xE1...0xEF: missing = 2
        case 0xF0: (missing, least) = (3, 0x90)
        case 0xF1...0xF3: missing = 3
        case 0xF4: (missing, greatest) = (3, 0x8F)
        default: return false
        }
        return true
    }
}
