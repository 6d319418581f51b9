package import ProxyGPT

/// A whole SQL statement whose values are bound, never pasted into the text.
///
///     "SELECT username FROM users WHERE id = \(id)"
///
/// becomes `… WHERE id = $1`, which SQLite and PostgreSQL both read. Printing it shows no values.
package struct SQL: Sendable, ExpressibleByStringInterpolation {
    package let text: String
    let values: [SQLValue]

    package init(stringLiteral text: String) {
        self.text = text
        values = []
    }

    package init(stringInterpolation: StringInterpolation) {
        text = stringInterpolation.text
        values = stringInterpolation.values
    }

    /// Takes text that is already SQL. Whatever came from outside must not be part of it.
    package init(unsafe text: String) {
        self.text = text
        values = []
    }

    /// Gathers text and values; every value takes the next number.
    package struct StringInterpolation: StringInterpolationProtocol {
        fileprivate var text = ""
        fileprivate var values: [SQLValue] = []

        package init(literalCapacity: Int, interpolationCount: Int) {
            text.reserveCapacity(literalCapacity + 4 * interpolationCount)
            values.reserveCapacity(interpolationCount)
        }

        package mutating func appendLiteral(_ literal: String) {
            text += literal
        }

        package mutating func appendInterpolation<Value: SQLBindable>(_ value: Value?) {
            appendInterpolation(value.sqlValue)
        }

        package mutating func appendInterpolation(_ value: some SQLBindable) {
            values.append(value.sqlValue)
            text += "$"
            text += String(values.count)
        }

        /// Takes over a piece of SQL with its values, which get new numbers.
        package mutating func appendInterpolation(_ piece: SQL) {
            var rest = piece.text[...]
            for value in piece.values {
                let dollar = rest.firstIndex(of: "$") ?? rest.endIndex
                text += rest[..<dollar]
                rest = rest[dollar...].dropFirst().drop { $0.isNumber }
                appendInterpolation(value)
            }
            text += rest
        }

        /// Binds each element, separated by commas, for `IN (…)`. An empty list matches nothing.
        package mutating func appendInterpolation(list: [some SQLBindable]) {
            guard !list.isEmpty else {
                text += "NULL"
                return
            }
            for (index, value) in list.enumerated() {
                if index > 0 { text += ", " }
                appendInterpolation(value)
            }
        }

        /// Pastes text as it is. Whatever came from outside must not be part of it.
        package mutating func appendInterpolation(unsafe text: String) {
            self.text += text
        }
    }
}

extension SQL: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    package var description: String { text }
    package var debugDescription: String { text }
    package var customMirror: Mirror { Mirror(self, children: ["text": text]) }
}

/// The value of a column or parameter: SQLite's five kinds.
package enum SQLValue: Sendable, Equatable {
    case null
    case integer(Int64)
    case real(Double)
    case text(String)
    case blob([UInt8])

    /// The kind without the content, for messages.
    var kind: String {
        switch self {
        case .null: "null"
        case .integer: "an integer"
        case .real: "a real"
        case .text: "text"
        case .blob: "a blob"
        }
    }
}

/// Can be bound to a statement.
package protocol SQLBindable {
    /// The value as the database keeps it.
    var sqlValue: SQLValue { get }
}

extension SQLValue: SQLBindable {
    package var sqlValue: SQLValue { self }
}

extension Int64: SQLBindable {
    package var sqlValue: SQLValue { .integer(self) }
}

extension Int: SQLBindable {
    package var sqlValue: SQLValue { .integer(Int64(self)) }
}

extension String: SQLBindable {
    package var sqlValue: SQLValue { .text(self) }
}

extension [UInt8]: SQLBindable {
    package var sqlValue: SQLValue { .blob(self) }
}

extension Timestamp: SQLBindable {
    package var sqlValue: SQLValue { .integer(milliseconds) }
}

extension Identifier: SQLBindable {
    package var sqlValue: SQLValue { .text(text) }
}

extension Optional: SQLBindable where Wrapped: SQLBindable {
    package var sqlValue: SQLValue {
        switch self {
        case .some(let value): value.sqlValue
        case .none: .null
        }
    }
}
