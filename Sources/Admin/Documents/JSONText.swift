internal import Formats

/// A JSON object of the members whose value is not nil, in this order.
func object(_ members: (name: String, value: JSONValue?)...) -> JSONValue {
    .object(members.compactMap { name, value in value.map { (name, $0) } })
}

extension JSONValue {
    /// The value as JSON text over several lines; lists of short values stay on one line.
    var indentedText: String { Self.lines(self, indentation: "") }

    /// The value as compact JSON text.
    var compactText: String { String(decoding: encoded, as: UTF8.self) }

    private static func lines(_ value: JSONValue, indentation: String) -> String {
        let inner = indentation + "  "
        switch value {
        case .object(let members) where !members.isEmpty:
            let lines = members.map { member in
                "\(inner)\(JSONValue.string(member.name).compactText): "
                    + Self.lines(member.value, indentation: inner)
            }
            return "{\n\(lines.joined(separator: ",\n"))\n\(indentation)}"
        case .array(let elements) where !elements.isEmpty:
            if elements.allSatisfy(\.isScalar) {
                let line = "[\(elements.map(\.compactText).joined(separator: ", "))]"
                if line.utf8.count <= 80 { return line }
            }
            let lines = elements.map { inner + Self.lines($0, indentation: inner) }
            return "[\n\(lines.joined(separator: ",\n"))\n\(indentation)]"
        default: return value.compactText
        }
    }

    private var isScalar: Bool {
        switch self {
        case .object, .array: false
        default: true
        }
    }
}
