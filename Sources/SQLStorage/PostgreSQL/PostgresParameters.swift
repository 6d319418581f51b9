// The values of one statement as PostgreSQL's binary format has them, in one buffer.
//
// Every value carries its type, or a text would take the type of its context; NULL alone leaves the
// choice to the context. (postgresql.org/docs/15/libpq-exec.html, PQexecParams: "If paramTypes is
// NULL, or any particular element in the array is zero, the server infers a data type".)

/// Types of values, by their numbers in `pg_type`.
enum PostgresType {
    static let unknown: UInt32 = 0
    static let bool: UInt32 = 16
    static let bytes: UInt32 = 17
    static let int8: UInt32 = 20
    static let int2: UInt32 = 21
    static let int4: UInt32 = 23
    static let text: UInt32 = 25
    static let float4: UInt32 = 700
    static let float8: UInt32 = 701
    static let numeric: UInt32 = 1700
    static let bytesArray: UInt32 = 1001
    static let textArray: UInt32 = 1009
    static let int8Array: UInt32 = 1016
}

/// The values of one statement.
struct PostgresParameters: Sendable {
    private(set) var types: [UInt32] = []
    private var lengths: [Int32] = []
    /// Where each value begins; -1 for NULL.
    private var starts: [Int] = []
    private var buffer: [UInt8] = []

    init() {}

    init(_ values: [SQLValue]) {
        types.reserveCapacity(values.count)
        for value in values {
            switch value {
            case .null: append(PostgresType.unknown, isNull: true) { _ in }
            case .integer(let integer):
                append(PostgresType.int8) { $0.append(bigEndian: integer) }
            case .real(let real):
                append(PostgresType.float8) {
                    $0.append(bigEndian: Int64(bitPattern: real.bitPattern))
                }
            case .text(let text): append(PostgresType.text) { $0.append(contentsOf: text.utf8) }
            case .blob(let bytes): append(PostgresType.bytes) { $0.append(contentsOf: bytes) }
            }
        }
    }

    var count: Int { types.count }

    /// Roughly, in bytes.
    var size: Int { buffer.count }

    mutating func append(text: String) {
        append(PostgresType.text) { $0.append(contentsOf: text.utf8) }
    }

    // An array of one dimension: the number of dimensions, whether there are NULLs, the elements'
    // type, how many there are and the first one's number; then each behind its length, which is -1 for
    // NULL (array_recv in PostgreSQL's arrayfuncs.c).
    private mutating func append<Element>(
        array: [Element?], _ type: UInt32, of element: UInt32,
        _ write: (Element, inout [UInt8]) -> Void
    ) {
        append(type) { buffer in
            buffer.append(bigEndian: Int32(1))
            buffer.append(bigEndian: Int32(1))
            buffer.append(bigEndian: element)
            buffer.append(bigEndian: Int32(clamping: array.count))
            buffer.append(bigEndian: Int32(1))
            for value in array {
                let start = buffer.count
                buffer.append(bigEndian: Int32(-1))
                guard let value else { continue }
                write(value, &buffer)
                let length = UInt32(clamping: buffer.count - start - 4)
                for index in 0..<4 {
                    buffer[start + index] = UInt8(
                        truncatingIfNeeded: length >> UInt32(24 - 8 * index))
                }
            }
        }
    }

    /// Texts as `cleaned` has them.
    mutating func append(texts: [String?]) {
        append(array: texts, PostgresType.textArray, of: PostgresType.text) { text, buffer in
            buffer.append(contentsOf: Self.cleaned(text).utf8)
        }
    }

    /// The text without the character that PostgreSQL cannot keep, which becomes U+FFFD.
    static func cleaned(_ text: String) -> String {
        guard text.utf8.contains(0) else { return text }
        return String(
            String.UnicodeScalarView(text.unicodeScalars.map { $0 == "\0" ? "\u{FFFD}" : $0 }))
    }

    mutating func append(integers: [Int64?]) {
        append(array: integers, PostgresType.int8Array, of: PostgresType.int8) { integer, buffer in
            buffer.append(bigEndian: integer)
        }
    }

    mutating func append(blobs: [[UInt8]?]) {
        append(array: blobs, PostgresType.bytesArray, of: PostgresType.bytes) { bytes, buffer in
            buffer.append(contentsOf: bytes)
        }
    }

    private mutating func append(
        _ type: UInt32, isNull: Bool = false, _ write: (inout [UInt8]) -> Void
    ) {
        let start = buffer.count
        write(&buffer)
        types.append(type)
        starts.append(isNull ? -1 : start)
        lengths.append(Int32(clamping: buffer.count - start))
    }

    /// Calls `body` with the arguments of libpq's calls: addresses, lengths and formats of the
    /// values, which are valid until it returns.
    func withPointers<T>(
        _ body: (
            _ values: UnsafePointer<UnsafePointer<CChar>?>?, _ lengths: UnsafePointer<Int32>?,
            _ formats: UnsafePointer<Int32>?
        ) -> T
    ) -> T {
        if starts.isEmpty { return body(nil, nil, nil) }
        let formats = [Int32](repeating: 1, count: starts.count)
        // One byte more, so that an empty value at the end has an address, too: none means NULL.
        return (buffer + [0]).withUnsafeBufferPointer { bytes in
            bytes.withMemoryRebound(to: CChar.self) { characters in
                let values: [UnsafePointer<CChar>?] = starts.map { start in
                    start < 0 ? nil : characters.baseAddress.map { $0 + start }
                }
                return body(values, lengths, formats)
            }
        }
    }
}

extension [UInt8] {
    fileprivate mutating func append(bigEndian value: some FixedWidthInteger) {
        Swift.withUnsafeBytes(of: value.bigEndian) { append(contentsOf: $0) }
    }
}
