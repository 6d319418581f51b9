// One prepared statement.
//
// Owns a sqlite3_stmt, finalized with the object. Confined to its connection's thread. Every run
// ends with a reset, because an open SELECT holds a snapshot, and a snapshot holds the WAL.

internal import CSQLite

/// Runs one statement, again and again.
final class SQLiteStatement {
    let handle: OpaquePointer
    private let text: String
    private let connection: OpaquePointer
    private var columns: [String] = []

    init(_ text: String, on connection: OpaquePointer) throws(DatabaseError) {
        var handle: OpaquePointer?
        var rest: UnsafePointer<CChar>?
        var text = text
        let length = Int32(clamping: text.utf8.count)
        let (code, isWhole) = text.withUTF8 { bytes in
            bytes.withMemoryRebound(to: CChar.self) { characters in
                let code = sqlite3_prepare_v3(
                    connection, characters.baseAddress, length, UInt32(SQLITE_PREPARE_PERSISTENT),
                    &handle, &rest)
                return (code, rest == characters.baseAddress.map { $0 + characters.count })
            }
        }
        guard code == SQLITE_OK else {
            throw DatabaseError(sqlite: connection, code: code, during: text)
        }
        guard let handle else {
            throw DatabaseError(.other, "an empty statement", during: text)
        }
        guard isWhole else {
            sqlite3_finalize(handle)
            throw DatabaseError(.other, "more than one statement", during: text)
        }
        self.handle = handle
        self.text = text
        self.connection = connection
    }

    deinit {
        sqlite3_finalize(handle)
    }

    /// Runs the statement to its end and returns all rows.
    func rows(_ values: [SQLValue]) throws(DatabaseError) -> [Row] {
        defer { reset() }
        try bind(values)
        var rows: [Row] = []
        while try step() {
            if columns.count != Int(sqlite3_column_count(handle)) { columns = columnNames() }
            rows.append(Row(columns: columns, values: columns.indices.map { value(at: Int32($0)) }))
        }
        return rows
    }

    /// Runs the statement to its end, whatever it returns.
    func run(_ values: [SQLValue] = []) throws(DatabaseError) {
        defer { reset() }
        try bind(values)
        while try step() {}
    }

    /// Advances; true when there is a row.
    func step() throws(DatabaseError) -> Bool {
        switch sqlite3_step(handle) {
        case SQLITE_ROW: return true
        case SQLITE_DONE: return false
        case let code: throw DatabaseError(sqlite: connection, code: code, during: text)
        }
    }

    /// The cost of the statement since the last call (sqlite3_stmt_status): instructions of
    /// SQLite's machine, and steps of scans that no index helped.
    func takeCost() -> (steps: Int, scanned: Int) {
        (
            Int(sqlite3_stmt_status(handle, SQLITE_STMTSTATUS_VM_STEP, 1)),
            Int(sqlite3_stmt_status(handle, SQLITE_STMTSTATUS_FULLSCAN_STEP, 1))
        )
    }

    /// Ends the snapshot and forgets the bound values.
    func reset() {
        // The code is that of the last step, which has been thrown already.
        sqlite3_reset(handle)
        sqlite3_clear_bindings(handle)
    }

    // MARK: - Binding

    private func bind(_ values: [SQLValue]) throws(DatabaseError) {
        guard Int(sqlite3_bind_parameter_count(handle)) == values.count else {
            throw DatabaseError(.other, "a wrong number of values", during: text)
        }
        for (index, value) in values.enumerated() {
            let position = Int32(index + 1)
            let code =
                switch value {
                case .null: SQLITE_OK
                case .integer(let integer): sqlite3_bind_int64(handle, position, integer)
                case .real(let real): sqlite3_bind_double(handle, position, real)
                case .text(let text): bind(text, at: position)
                case .blob(let bytes): bind(bytes, at: position)
                }
            guard code == SQLITE_OK else {
                throw DatabaseError(sqlite: connection, code: code, during: text)
            }
        }
    }

    @discardableResult
    func bind(_ integer: Int64, at position: Int32) -> Int32 {
        sqlite3_bind_int64(handle, position, integer)
    }

    @discardableResult
    func bind(_ text: String, at position: Int32) -> Int32 {
        var text = text
        return text.withUTF8 { bytes in
            bytes.withMemoryRebound(to: CChar.self) { characters in
                // An empty buffer may have no address, which would bind NULL.
                guard let start = characters.baseAddress else {
                    return proxy_gpt_sqlite_bind_text(handle, position, "", 0)
                }
                return proxy_gpt_sqlite_bind_text(
                    handle, position, start, UInt64(characters.count))
            }
        }
    }

    @discardableResult
    func bind(_ bytes: [UInt8], at position: Int32) -> Int32 {
        guard !bytes.isEmpty else { return sqlite3_bind_zeroblob(handle, position, 0) }
        return bytes.withUnsafeBufferPointer { bytes in
            proxy_gpt_sqlite_bind_blob(
                handle, position, bytes.baseAddress, UInt64(bytes.count))
        }
    }

    // MARK: - Reading

    func integer(at index: Int32) -> Int64 {
        sqlite3_column_int64(handle, index)
    }

    /// The text of a column; empty for NULL.
    func text(at index: Int32) -> String {
        String(
            decoding: UnsafeBufferPointer(
                start: sqlite3_column_text(handle, index),
                count: Int(sqlite3_column_bytes(handle, index))), as: UTF8.self)
    }

    func isNull(at index: Int32) -> Bool {
        sqlite3_column_type(handle, index) == SQLITE_NULL
    }

    private func columnNames() -> [String] {
        (0..<sqlite3_column_count(handle)).map { index in
            sqlite3_column_name(handle, index).map { String(cString: $0) } ?? ""
        }
    }

    private func value(at index: Int32) -> SQLValue {
        switch sqlite3_column_type(handle, index) {
        case SQLITE_INTEGER: .integer(sqlite3_column_int64(handle, index))
        case SQLITE_FLOAT: .real(sqlite3_column_double(handle, index))
        case SQLITE_TEXT:
            .text(text(at: index))
        case SQLITE_BLOB:
            .blob(
                Array(
                    UnsafeRawBufferPointer(
                        start: sqlite3_column_blob(handle, index),
                        count: Int(sqlite3_column_bytes(handle, index)))))
        default: .null
        }
    }
}

@available(*, unavailable) extension SQLiteStatement: Sendable {}

extension DatabaseError {
    /// Reads at once the connection's report about its last call.
    init(sqlite connection: OpaquePointer?, code: Int32, during: String) {
        let extended = connection.map { sqlite3_extended_errcode($0) } ?? code
        let kind: Kind =
            switch code & 0xFF {
            case SQLITE_CONSTRAINT:
                // SQLITE_CONSTRAINT_UNIQUE and SQLITE_CONSTRAINT_PRIMARYKEY, which are macros with
                // arithmetic.
                extended == 2067 || extended == 1555 ? .uniqueViolation : .constraint
            case SQLITE_FULL: .full
            case SQLITE_IOERR, SQLITE_CANTOPEN, SQLITE_READONLY: .inputOutput
            case SQLITE_CORRUPT, SQLITE_NOTADB: .damaged
            case SQLITE_BUSY, SQLITE_LOCKED: .busy
            case SQLITE_INTERRUPT: .interrupted
            default: .other
            }
        let message =
            connection.flatMap { sqlite3_errmsg($0) }.map { String(cString: $0) }
            ?? String(cString: sqlite3_errstr(code))
        self.init(kind, "SQLite \(extended): \(message)", during: during)
    }
}
