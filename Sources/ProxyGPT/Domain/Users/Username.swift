/// A valid user name, with the form in which names are compared.
package struct Username: Sendable, Equatable {
    /// The name as the user wrote it, trimmed and in normalization form C.
    package let text: String
    /// Equal for names that differ in case alone; unique in the database.
    package let folded: String

    /// The longest name in bytes, both in the request and in its final form.
    package static let limit = 254

    /// Throws `invalidRequest` naming `parameter` and the rule that `text` breaks.
    package init(_ text: String, parameter: String = "username") throws(Failure) {
        let tooLong = Failure.invalid(parameter, "A user name has at most \(Self.limit) bytes.")
        guard let given = Self.bounded(text) else { throw tooLong }
        let name = Self.normalized(given)
        guard !name.isEmpty else { throw .invalid(parameter, "A user name must not be empty.") }
        guard name.utf8.count <= Self.limit else { throw tooLong }
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

    /// Returns the form in which a name is looked up; empty, which no name is, for a text that is
    /// too long.
    package static func folded(_ text: String) -> String {
        guard let name = bounded(text) else { return "" }
        // By way of capitals, so that letters with two small forms become one.
        return normalized(normalized(name).uppercased().lowercased())
    }

    /// The text without outer white space; nil where that is too long. Normalization comes after:
    /// its time grows with the square of a run of combining marks.
    private static func bounded(_ text: String) -> String? {
        guard text.utf8.count <= 4 * limit else { return nil }
        let name = trimmed(text)
        return name.utf8.count <= limit ? name : nil
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
