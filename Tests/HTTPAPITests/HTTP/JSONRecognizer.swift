/// A second opinion on what is JSON: tokens, then a stack of open brackets, where the parser
/// descends into functions. Knows nothing of values.
enum JSONRecognizer {
    private enum State {
        case value, firstValue, name, firstName, colon, end
    }

    static func accepts(_ bytes: [UInt8], depthLimit: Int) -> Bool {
        guard let text = String(validating: bytes, as: UTF8.self) else { return false }
        var rest = text.unicodeScalars[...]
        var open: [Unicode.Scalar] = []
        var state = State.value
        while true {
            rest = rest.drop { " \t\r\n".unicodeScalars.contains($0) }
            guard let first = rest.first else { return state == .end && open.isEmpty }
            switch (first, state) {
            case ("{", .value), ("{", .firstValue), ("[", .value), ("[", .firstValue):
                open.append(first)
                guard open.count <= depthLimit else { return false }
                state = first == "{" ? .firstName : .firstValue
                rest = rest.dropFirst()
            case ("}", .firstName), ("]", .firstValue), ("}", .end), ("]", .end):
                guard open.popLast() == (first == "}" ? "{" : "[") else { return false }
                state = .end
                rest = rest.dropFirst()
            case (",", .end):
                guard let bracket = open.last else { return false }
                state = bracket == "{" ? .name : .value
                rest = rest.dropFirst()
            case (":", .colon):
                state = .value
                rest = rest.dropFirst()
            case ("\"", .name), ("\"", .firstName), ("\"", .value), ("\"", .firstValue):
                guard let after = afterString(rest) else { return false }
                state = state == .name || state == .firstName ? .colon : .end
                rest = after
            case (_, .value), (_, .firstValue):
                let word = rest.prefix { !" \t\r\n,]}".unicodeScalars.contains($0) }
                guard isLiteral(String(word)) else { return false }
                state = .end
                rest = rest[word.endIndex...]
            default: return false
            }
        }
    }

    private static func isLiteral(_ word: String) -> Bool {
        ["true", "false", "null"].contains(word)
            || word.wholeMatch(of: #/-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+\-]?[0-9]+)?/#) != nil
    }

    private static func afterString(
        _ text: Substring.UnicodeScalarView
    ) -> Substring.UnicodeScalarView? {
        var rest = text.dropFirst()
        var high = false
        while let scalar = rest.popFirst() {
            var unit: UInt32?
            if scalar == "\\" {
                guard let escape = rest.popFirst() else { return nil }
                if escape == "u" {
                    let digits = String(rest.prefix(4))
                    guard digits.utf8.count == 4, !digits.hasPrefix("+"), !digits.hasPrefix("-"),
                        let value = UInt32(digits, radix: 16)
                    else { return nil }
                    unit = value
                    rest = rest.dropFirst(4)
                } else if !"\"\\/bfnrt".unicodeScalars.contains(escape) {
                    return nil
                }
            } else if scalar.value < 0x20 {
                return nil
            }
            let isLow = unit.map { $0 >> 10 == 0x37 } ?? false
            if high != isLow { return nil }
            high = unit.map { $0 >> 10 == 0x36 } ?? false
            if scalar == "\"" { return rest }
        }
        return nil
    }
}
