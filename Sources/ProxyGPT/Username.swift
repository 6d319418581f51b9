/// A user name that keeps the rules, with the form in which names are compared.
package struct Username: Sendable, Equatable {
    /// The longest name, in bytes.
    package static let limit = 254

    /// As the user wrote it, trimmed and in normalization form C.
    package let text: String
    /// Equal for names that differ in case alone; unique in the database.
    package let folded: String

    /// Throws `invalidRequest` naming `parameter` and the rule that `text` breaks.
    package init(_ text: String, parameter: String = "username") throws(Failure) {
        let name = Self.normalized(Self.trimmed(text))
        guard !name.isEmpty else { throw .invalid(parameter, "A user name must not be empty.") }
        guard name.utf8.count <= Self.limit else {
            throw .invalid(parameter, "A user name has at most \(Self.limit) bytes.")
        }
        let folded = Self.folded(name)
        guard !UUIDText.isShaped(name), !UUIDText.isShaped(folded) else {
            throw .invalid(parameter, "A user name must not look like an id.")
        }
        for scalar in name.unicodeScalars {
            if let character = Self.objection(to: scalar) {
                throw .invalid(parameter, "A user name must not contain \(character).")
            }
        }
        self.text = name
        self.folded = folded
    }

    /// Returns the form in which a name is looked up, whatever it is.
    package static func folded(_ text: String) -> String {
        // By way of capitals, so that letters with two small forms become one.
        normalized(normalized(trimmed(text)).uppercased().lowercased())
    }

    private static func normalized(_ text: String) -> String {
        NormalizationFormC.normalized(text)
    }

    private static func trimmed(_ text: String) -> String {
        let scalars = text.unicodeScalars
        guard let first = scalars.firstIndex(where: { !$0.properties.isWhitespace }),
            let last = scalars.lastIndex(where: { !$0.properties.isWhitespace })
        else { return "" }
        return String(scalars[first...last])
    }

    private static func objection(to scalar: Unicode.Scalar) -> String? {
        switch scalar {
        case ":", ",", "/": return "\"\(scalar)\""
        default: break
        }
        if scalar.properties.isWhitespace { return "white space" }
        switch scalar.properties.generalCategory {
        case .control: return "control characters"
        case .format: return "invisible or direction-changing characters"
        case .unassigned, .surrogate, .privateUse: return "unassigned characters"
        default: break
        }
        return scalar.properties.isDefaultIgnorableCodePoint ? "invisible characters" : nil
    }
}
