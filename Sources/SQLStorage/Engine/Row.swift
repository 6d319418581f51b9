package import ProxyGPT

/// One row of an answer, copied out of the database.
package struct Row: Sendable {
    let columns: [String]
    let values: [SQLValue]

    /// The raw value of a column. Throws when the answer has no such column.
    package func value(_ column: String) throws(RowError) -> SQLValue {
        for (name, value) in zip(columns, values) where name == column { return value }
        throw RowError(column: column, expected: "a column", found: "none of that name")
    }

    package func text(_ column: String) throws(RowError) -> String {
        let value = try value(column)
        if case .text(let text) = value { return text }
        throw RowError(column: column, expected: "text", found: value.kind)
    }

    /// The largest result of `integer`, and negated the smallest: 2^53. Sums and products with
    /// small factors fit in 64 bits, and JSON's numbers are exact up to it (RFC 8259, section 6).
    package static let integerLimit: Int64 = FrameID.largestSequence

    /// A number, cut down to the limit: a number that an operator wrote into the database must not
    /// end a process.
    package func integer(_ column: String) throws(RowError) -> Int64 {
        let value = try value(column)
        guard case .integer(let integer) = value else {
            throw RowError(column: column, expected: "an integer", found: value.kind)
        }
        return max(-Self.integerLimit, min(Self.integerLimit, integer))
    }

    /// A version or sequence number. Throws where the value is none: cut down, it would be the
    /// number of another row.
    package func sequence(_ column: String) throws(RowError) -> Int64 {
        let number = try integer(column)
        guard (0..<Self.integerLimit).contains(number) else {
            throw RowError(column: column, expected: "0 to 2^53 - 1", found: "another number")
        }
        return number
    }

    /// One of the values of a type; the weakest, `fallback`, for a value that this release does not
    /// know, as after a newer one was rolled back.
    package func word<Word: RawRepresentable<String>>(
        _ column: String, or fallback: Word
    ) throws(RowError) -> Word {
        let text = try text(column)
        if let word = Word(rawValue: text) { return word }
        UnknownWords.shared.add(text, in: column)
        return fallback
    }

    package func blob(_ column: String) throws(RowError) -> [UInt8] {
        let value = try value(column)
        if case .blob(let bytes) = value { return bytes }
        throw RowError(column: column, expected: "a blob", found: value.kind)
    }

    package func optionalText(_ column: String) throws(RowError) -> String? {
        try value(column) == .null ? nil : text(column)
    }

    package func optionalInteger(_ column: String) throws(RowError) -> Int64? {
        try value(column) == .null ? nil : integer(column)
    }

    package func optionalBlob(_ column: String) throws(RowError) -> [UInt8]? {
        try value(column) == .null ? nil : blob(column)
    }

    package func id<Entity>(_ column: String) throws(RowError) -> Identifier<Entity> {
        Identifier(try text(column))
    }

    package func optionalID<Entity>(_ column: String) throws(RowError) -> Identifier<Entity>? {
        try optionalText(column).map { Identifier($0) }
    }

    package func timestamp(_ column: String) throws(RowError) -> Timestamp {
        Timestamp(milliseconds: try integer(column))
    }
}

/// A row is not as the code expects: a mistake in a statement, or a damaged database.
package struct RowError: Error, Equatable, CustomStringConvertible {
    let column: String
    let expected: String
    let found: String

    package var description: String {
        "column \(column): expected \(expected), found \(found)"
    }
}
