/// A JSON value (RFC 8259) as it was written: numbers as their text, members in order, duplicates kept.
///
/// Not Foundation's, because requests are refused for a name that comes twice and for nesting that
/// is too deep, which its decoder does not tell.
package enum JSONValue: Sendable {
    case null
    case boolean(Bool)
    case number(String)
    case string(String)
    case array([JSONValue])
    case object([(name: String, value: JSONValue)])

    package static func integer(_ value: some BinaryInteger) -> JSONValue {
        .number(String(value))
    }

    /// A string, or null for nil.
    package static func text(_ value: String?) -> JSONValue {
        value.map { .string($0) } ?? .null
    }

    /// The first member of that name, nil where there is none or this is no object.
    package subscript(_ name: String) -> JSONValue? {
        guard case .object(let members) = self else { return nil }
        return members.first { $0.name.hasSameBytes(as: name) }?.value
    }

    package var stringValue: String? {
        if case .string(let text) = self { text } else { nil }
    }

    /// The elements of an array, nil for anything else.
    package var elements: [JSONValue]? {
        if case .array(let elements) = self { elements } else { nil }
    }

    /// The value of a number without fraction or exponent that fits.
    package var integerValue: Int64? {
        if case .number(let text) = self, text.utf8.count <= 20 { Int64(text) } else { nil }
    }
}

extension JSONValue: ExpressibleByDictionaryLiteral, ExpressibleByArrayLiteral {
    package init(dictionaryLiteral elements: (String, JSONValue)...) {
        self = .object(elements.map { (name: $0.0, value: $0.1) })
    }

    package init(arrayLiteral elements: JSONValue...) {
        self = .array(elements)
    }
}

extension JSONValue: Equatable {
    /// Whether both are written alike: numbers with the same digits, members in the same order.
    package static func == (left: JSONValue, right: JSONValue) -> Bool {
        left.encoded == right.encoded
    }
}

extension JSONValue: ExpressibleByIntegerLiteral {
    package init(integerLiteral value: Int) {
        self = .integer(value)
    }
}

extension JSONValue: ExpressibleByStringLiteral, ExpressibleByBooleanLiteral {
    package init(stringLiteral value: String) {
        self = .string(value)
    }

    package init(booleanLiteral value: Bool) {
        self = .boolean(value)
    }
}
