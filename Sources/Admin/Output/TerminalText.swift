/// Makes text from the database fit for a terminal: characters that would move the cursor, change colours
/// or turn the direction of writing are shown as their numbers.
enum TerminalText {
    /// The text on one line.
    static func line(_ text: String) -> String {
        escaped(text) { $0 == "\n" || $0 == "\t" ? false : nil }
    }

    /// The text with its own line breaks and tabs.
    static func block(_ text: String) -> String {
        escaped(text) { $0 == "\n" || $0 == "\t" ? true : nil }
    }

    /// JSON text with the same characters escaped, which may stand in its strings alone.
    static func json(_ bytes: [UInt8]) -> String {
        let text = String(decoding: bytes, as: UTF8.self)
        guard text.unicodeScalars.contains(where: { !isHarmless($0) }) else { return text }
        var result = ""
        for scalar in text.unicodeScalars {
            guard !isHarmless(scalar) else {
                result.unicodeScalars.append(scalar)
                continue
            }
            for unit in String(scalar).utf16 {
                let digits = String(unit, radix: 16)
                result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            }
        }
        return result
    }

    /// The columns of a terminal that the text takes: combining marks, joiners and joined characters take
    /// none, and a flag is two letters.
    static func width(_ text: String) -> Int {
        var (width, isJoined, isHalfFlag) = (0, false, false)
        for scalar in text.unicodeScalars {
            let isFlagLetter = (0x1F1E6...0x1F1FF).contains(scalar.value)
            let isSecond = isHalfFlag && isFlagLetter
            let isSkinTone = (0x1F3FB...0x1F3FF).contains(scalar.value)
            if !isJoined && !isSecond && !isSkinTone { width += Self.width(scalar) }
            isJoined = scalar == "\u{200D}"
            isHalfFlag = isFlagLetter && !isSecond
        }
        return width
    }

    private static func escaped(
        _ text: String, _ exception: (Unicode.Scalar) -> Bool?
    ) -> String {
        guard text.unicodeScalars.contains(where: { exception($0) == false || !isHarmless($0) })
        else { return text }
        var result = ""
        for scalar in text.unicodeScalars {
            if exception(scalar) ?? isHarmless(scalar) {
                result.unicodeScalars.append(scalar)
            } else if scalar == "\n" {
                result += "\\n"
            } else if scalar == "\t" {
                result += "\\t"
            } else {
                result += "\\u{\(String(scalar.value, radix: 16, uppercase: true))}"
            }
        }
        return result
    }

    private static func isHarmless(_ scalar: Unicode.Scalar) -> Bool {
        if scalar.value < 0x7F { return scalar.value >= 0x20 }
        switch scalar.properties.generalCategory {
        case .control, .lineSeparator, .paragraphSeparator, .surrogate, .privateUse, .unassigned:
            return false
        // Invisible characters, of which some turn the direction; the joiner of emoji stays.
        case .format: return scalar == "\u{200D}"
        default: return true
        }
    }

    private static func width(_ scalar: Unicode.Scalar) -> Int {
        if scalar.value < 0x300 { return 1 }
        switch scalar.properties.generalCategory {
        case .nonspacingMark, .enclosingMark, .format: return 0
        default: break
        }
        if scalar.properties.isEmojiPresentation { return 2 }
        return wide.contains { $0.contains(scalar.value) } ? 2 : 1
    }

    /// Ranges of characters that take two columns in East Asian writing (Unicode Standard Annex 11).
    private static let wide: [ClosedRange<UInt32>] = [
        0x1100...0x115F, 0x2E80...0x303E, 0x3041...0x33FF, 0x3400...0x4DBF, 0x4E00...0x9FFF,
        0xA000...0xA4CF, 0xA960...0xA97F, 0xAC00...0xD7A3, 0xF900...0xFAFF, 0xFE30...0xFE6F,
        0xFF00...0xFF60, 0xFFE0...0xFFE6, 0x17000...0x18CFF, 0x1B000...0x1B2FF,
        0x20000...0x3FFFD,
    ]
}
