/// Estimates the number of tokens of a text, without the model's vocabulary, which differs from
/// model to model and may not be shipped.
///
/// A run of ASCII letters or digits counts one token for each four characters begun (digits: three),
/// every other printing ASCII character one, a single space none, a longer run of white space one,
/// and anything beyond ASCII half a token a byte. docs/benchmarks.md has the error.
package enum TokenEstimate {
    /// Tokens of each turn's role and separators in OpenAI's chat format.
    package static let perTurn = 4

    package static func tokens(in text: String) -> Int {
        var halves = 0
        var run = Run.none
        var length = 0
        for byte in text.utf8 {
            let kind = Run(byte)
            if kind != run {
                halves += run.halves(length)
                run = kind
                length = 0
            }
            length += 1
        }
        halves += run.halves(length)
        return (halves + 1) / 2
    }

    /// Bytes of one kind in a row.
    private enum Run {
        case none, letters, digits, space, other, beyondASCII

        init(_ byte: UInt8) {
            switch byte {
            case 0x41...0x5A, 0x61...0x7A: self = .letters
            case 0x30...0x39: self = .digits
            case 0x09, 0x0A, 0x0D, 0x20: self = .space
            case 0x80...: self = .beyondASCII
            default: self = .other
            }
        }

        /// Half tokens of a run of this many bytes.
        func halves(_ length: Int) -> Int {
            switch self {
            case .none: 0
            case .letters: 2 * ((length + 3) / 4)
            case .digits: 2 * ((length + 2) / 3)
            case .space: length > 1 ? 2 : 0
            case .other: 2 * length
            case .beyondASCII: length
            }
        }
    }
}
