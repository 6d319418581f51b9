/// The layout of a process's file: counters with a fixed index at the head, then those of the registry.
enum CounterLayout {
    static let magic: UInt64 = 0x3142_5450_4758_5250

    static let magicIndex = 0
    static let fingerprintIndex = 1
    static let kindIndex = 2
    static let processIndex = 3
    /// Microseconds since 1970.
    static let startIndex = 4
    static let stateIndex = 5
    static let requestsIndex = 6
    static let errorsIndex = 7
    static let inFlightIndex = 8
    /// The last request: its route, when it began (microseconds since 1970), and how long it took.
    static let lastRouteIndex = 9
    static let lastBeginIndex = 10
    static let lastTimeIndex = 11
    static let memoryIndex = 12
    /// In the file of ended processes: a hash of the name of the file that was added last.
    static let lastMergedIndex = 13

    static let modelsIndex = 16
    /// The number of models with counters of their own; all others share one.
    static let models = 32
    /// Counters that hold a name: one for its length, then its bytes.
    static let countersPerName = 9
    static let longestName = 64
    static let headCount = modelsIndex + models * countersPerName

    /// Whether a name may be a label's value: printable, without characters that need an escape.
    static func isName(_ name: String) -> Bool {
        (1...longestName).contains(name.utf8.count)
            && name.utf8.allSatisfy { byte in
                byte > 0x20 && byte < 0x7F && byte != UInt8(ascii: "\"")
                    && byte != UInt8(ascii: "\\")
            }
    }

    /// The bytes of a name, eight in a counter.
    static func counters(of name: String) -> [UInt64] {
        var counters = [UInt64](repeating: 0, count: countersPerName - 1)
        for (index, byte) in name.utf8.prefix(longestName).enumerated() {
            counters[index / 8] |= UInt64(byte) << UInt64(8 * (index % 8))
        }
        return counters
    }

    /// The name in a slot of a file; nil for an empty slot and for bytes that are no name.
    static func name(in slot: Int, of counters: [UInt64]) -> String? {
        let start = modelsIndex + slot * countersPerName
        guard start + countersPerName <= counters.count else { return nil }
        let length = counters[start]
        guard (1...UInt64(longestName)).contains(length) else { return nil }
        let bytes = (0..<Int(length)).map { index in
            UInt8(truncatingIfNeeded: counters[start + 1 + index / 8] >> UInt64(8 * (index % 8)))
        }
        let name = String(decoding: bytes, as: UTF8.self)
        return isName(name) ? name : nil
    }
}
