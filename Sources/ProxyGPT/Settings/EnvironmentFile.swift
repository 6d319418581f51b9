internal import Formats

/// Reads what systemd reads from an `EnvironmentFile=` (systemd.exec(5)): a variable a line, `#` and
/// `;` begin comments, a backslash joins lines, quotes of both kinds.
package enum EnvironmentFile {
    /// The variables by name; the last of a name counts.
    package static func variables(in text: String) -> [String: String] {
        var variables: [String: String] = [:]
        for (name, value) in assignments(in: text) where isName(name) { variables[name] = value }
        return variables
    }

    /// The assignments in order, also of invalid names; the value is nil for a line without `=`.
    static func assignments(in text: String) -> [(name: String, value: String?)] {
        var assignments: [(name: String, value: String?)] = []
        var characters = Substring(text)
        while !characters.isEmpty {
            skipBlanks(&characters)
            guard let first = characters.first else { break }
            if first == "#" || first == ";" {
                skipComment(&characters)
                continue
            }
            let name = readName(&characters)
            guard characters.first == "=" else {
                assignments.append((String(name), nil))
                continue
            }
            characters.removeFirst()
            assignments.append((String(name), readValue(&characters)))
        }
        return assignments
    }

    private static func skipBlanks(_ rest: inout Substring) {
        rest = rest.drop { $0.isWhitespace }
    }

    // "comment lines can be continued" by a backslash, too.
    private static func skipComment(_ rest: inout Substring) {
        while let character = rest.popFirst() {
            if character == "\\" {
                _ = rest.popFirst()
            } else if character.isNewline {
                return
            }
        }
    }

    /// The text before `=`, or the whole line where there is none.
    private static func readName(_ rest: inout Substring) -> Substring {
        let name = rest.prefix { $0 != "=" && !$0.isNewline }
        rest = rest[name.endIndex...]
        return name.trimmed
    }

    private static func isName(_ name: String) -> Bool {
        guard let first = name.utf8.first, !(0x30...0x39).contains(first) else { return false }
        return name.utf8.allSatisfy { byte in
            byte == 0x5F || (0x30...0x39).contains(byte) || (0x61...0x7A).contains(lowerCase(byte))
        }
    }

    private static func readValue(_ rest: inout Substring) -> String {
        var value = ""
        // Blanks at the end count only within quotes or behind a backslash.
        var held = 0
        rest = rest.drop { $0 == " " || $0 == "\t" }
        while let character = rest.popFirst(), !character.isNewline {
            switch character {
            case "\\":
                guard let next = rest.popFirst() else { break }
                if next.isNewline { continue }
                value.append(next)
                held = value.count
            case "'", "\"":
                readQuoted(character, &rest, into: &value)
                held = value.count
            default:
                value.append(character)
                if character != " " && character != "\t" { held = value.count }
            }
        }
        return String(value.prefix(held))
    }

    private static func readQuoted(
        _ quote: Character, _ rest: inout Substring, into value: inout String
    ) {
        while let character = rest.popFirst(), character != quote {
            guard quote == "\"", character == "\\", let next = rest.popFirst() else {
                value.append(character)
                continue
            }
            switch next {
            case "\"", "\\", "`", "$": value.append(next)
            case _ where next.isNewline: continue
            default:
                value.append("\\")
                value.append(next)
            }
        }
    }
}

extension Substring {
    fileprivate var trimmed: Substring {
        let start = drop { $0.isWhitespace }
        guard let last = start.lastIndex(where: { !$0.isWhitespace }) else { return "" }
        return start[...last]
    }
}
