/// Overwrites the upstream's key in bytes that pass by, with as many asterisks: the one thing that
/// is not passed on verbatim. Works over the borders of pieces by keeping back the few last bytes
/// that may be the beginning of a key. A value: a copy begins a new text.
package struct KeyMask: Sendable {
    /// A key shorter than this is no secret, and masking it would spoil ordinary text.
    package static let shortestKey = 8

    private static let asterisk = UInt8(ascii: "*")
    private static let headLength = 8

    private let key: [UInt8]
    /// Every run of this many bytes of the key is masked; 0 masks nothing.
    private let runLength: Int
    /// The first 8 bytes of the runs that are looked for, as numbers.
    private let heads: Set<UInt64>
    /// The first 8 bytes of the key itself.
    private let wholeHead: UInt64
    /// A bit for each byte that such a run begins with.
    private var firstBytes: (UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0)
    private var held: [UInt8] = []
    /// How many of the held bytes are masked already.
    private var heldMasked = 0

    /// - Parameter partial: mask parts of the key too, from 8 bytes on, as error messages quote them.
    package init(key: [UInt8], partial: Bool) {
        self.key = key
        guard key.count >= Self.shortestKey else {
            runLength = 0
            heads = []
            wholeHead = 0
            return
        }
        runLength = partial ? Self.headLength : key.count
        let starts = 0...(key.count - runLength)
        wholeHead = Self.head(key, 0)
        heads = Set(starts.map { Self.head(key, $0) })
        for start in starts { markFirstByte(key[start]) }
    }

    private static func head(_ bytes: [UInt8], _ start: Int) -> UInt64 {
        var head: UInt64 = 0
        for index in start..<(start + headLength) { head = head << 8 | UInt64(bytes[index]) }
        return head
    }

    private mutating func markFirstByte(_ byte: UInt8) {
        let bit = UInt64(1) << UInt64(byte & 63)
        switch byte >> 6 {
        case 0: firstBytes.0 |= bit
        case 1: firstBytes.1 |= bit
        case 2: firstBytes.2 |= bit
        default: firstBytes.3 |= bit
        }
    }

    @inline(__always)
    private func mayBegin(_ byte: UInt8) -> Bool {
        let word =
            switch byte >> 6 {
            case 0: firstBytes.0
            case 1: firstBytes.1
            case 2: firstBytes.2
            default: firstBytes.3
            }
        return word >> UInt64(byte & 63) & 1 == 1
    }

    private enum Match {
        case none
        case whole
        /// The bytes end before one can tell.
        case begun
    }

    private func match(_ bytes: [UInt8], at start: Int) -> Match {
        if bytes.count - start >= Self.headLength {
            let head = Self.head(bytes, start)
            guard runLength == key.count ? head == wholeHead : heads.contains(head) else {
                return .none
            }
            if runLength == Self.headLength { return .whole }
        }
        // What is left is either short, or the beginning of the one run that is the whole key.
        let rest = bytes[start...].prefix(runLength)
        let offsets = 0...(key.count - runLength)
        guard offsets.contains(where: { key[$0..<($0 + runLength)].starts(with: rest) }) else {
            return .none
        }
        return rest.count == runLength ? .whole : .begun
    }

    /// Takes the next bytes and returns those that can leave.
    package mutating func feed(_ bytes: [UInt8]) -> [UInt8] {
        guard runLength > 0 else { return bytes }
        if held.isEmpty && !bytes.contains(where: mayBegin) { return bytes }
        let seen = held.isEmpty ? bytes : held + bytes
        var result = seen
        var maskedTo = heldMasked
        for index in 0..<heldMasked { result[index] = Self.asterisk }
        var keptFrom = seen.count
        for start in 0..<seen.count where mayBegin(seen[start]) {
            switch match(seen, at: start) {
            case .none: continue
            case .begun: keptFrom = min(keptFrom, start)
            case .whole:
                for index in max(start, maskedTo)..<(start + runLength) {
                    result[index] = Self.asterisk
                }
                maskedTo = start + runLength
            }
        }
        guard keptFrom < seen.count else {
            held = []
            heldMasked = 0
            return result
        }
        held = Array(seen[keptFrom...])
        heldMasked = max(0, maskedTo - keptFrom)
        return Array(result[..<keptFrom])
    }

    /// Returns what was kept back. Called once after the last byte.
    package mutating func finish() -> [UInt8] {
        defer {
            held = []
            heldMasked = 0
        }
        return [UInt8](repeating: Self.asterisk, count: heldMasked) + held.dropFirst(heldMasked)
    }

    /// Masks bytes that are there as a whole.
    package func masked(_ bytes: [UInt8]) -> [UInt8] {
        var mask = self
        return mask.feed(bytes) + mask.finish()
    }

    package func masked(_ text: String) -> String {
        guard runLength > 0, text.utf8.count >= runLength else { return text }
        return String(decoding: masked(Array(text.utf8)), as: UTF8.self)
    }
}

/// The masks for one key.
package struct KeyMasks: Sendable {
    /// Masks the key as a whole: for answers that succeed.
    package let whole: KeyMask
    /// Masks parts of it as well: for error messages.
    package let partial: KeyMask

    package init(key: Secret?) {
        let key = Array((key?.revealed ?? "").utf8)
        whole = KeyMask(key: key, partial: false)
        partial = KeyMask(key: key, partial: true)
    }

    /// The mask for an answer of this status.
    package func mask(forStatus status: Int) -> KeyMask {
        status >= 400 ? partial : whole
    }
}
