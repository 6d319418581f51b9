/// How the words at the head of a process's file are used; its figures follow.
enum Board {
    static let magic: UInt64 = 0x3142_5450_4758_5250

    static let magicWord = 0
    static let fingerprintWord = 1
    static let kindWord = 2
    static let processWord = 3
    /// Microseconds since 1970.
    static let startWord = 4
    static let stateWord = 5
    static let requestsWord = 6
    static let errorsWord = 7
    static let inFlightWord = 8
    /// The last request: its route, when it began (microseconds since 1970), and how long it took.
    static let lastRouteWord = 9
    static let lastBeginWord = 10
    static let lastTimeWord = 11
    static let memoryWord = 12
    /// In the file of the past: the name of the file that was added last.
    static let lastFoldedWord = 13

    static let modelsWord = 16
    /// Names of models that are told apart; all others are one.
    static let models = 32
    /// Words of a name: one for its length, then its bytes.
    static let wordsOfName = 9
    static let longestName = 64
    static let headWords = modelsWord + models * wordsOfName

    /// A name that may stand in a label: printable, without what would have to be escaped.
    static func isName(_ name: String) -> Bool {
        (1...longestName).contains(name.utf8.count)
            && name.utf8.allSatisfy { byte in
                byte > 0x20 && byte < 0x7F && byte != UInt8(ascii: "\"")
                    && byte != UInt8(ascii: "\\")
            }
    }

    /// The bytes of a name as words.
    static func words(of name: String) -> [UInt64] {
        var words = [UInt64](repeating: 0, count: wordsOfName - 1)
        for (index, byte) in name.utf8.prefix(longestName).enumerated() {
            words[index / 8] |= UInt64(byte) << UInt64(8 * (index % 8))
        }
        return words
    }

    /// The name in a slot of a file; nil for an empty one and for what is no name.
    static func name(in slot: Int, of words: [UInt64]) -> String? {
        let start = modelsWord + slot * wordsOfName
        guard start + wordsOfName <= words.count else { return nil }
        let length = words[start]
        guard (1...UInt64(longestName)).contains(length) else { return nil }
        let bytes = (0..<Int(length)).map { index in
            UInt8(truncatingIfNeeded: words[start + 1 + index / 8] >> UInt64(8 * (index % 8)))
        }
        let name = String(decoding: bytes, as: UTF8.self)
        return isName(name) ? name : nil
    }
}
