// The result of one statement, copied out of libpq's result at once.

internal import CPostgres

/// A result of libpq, freed on every path.
struct PostgresResult: ~Copyable {
    let pointer: OpaquePointer

    /// Takes the next result of a connection; nil where a statement's results end.
    init?(nextOf connection: OpaquePointer) {
        guard let pointer = PQgetResult(connection) else { return nil }
        self.pointer = pointer
    }

    deinit {
        PQclear(pointer)
    }

    var status: ExecStatusType { PQresultStatus(pointer) }
}

/// The rows of a statement, or how many it changed.
struct PostgresAnswer: Sendable {
    let rows: [Row]
    let count: Int
    /// The command tag of the statement: `COMMIT`, or `ROLLBACK` where nothing could be committed.
    let tag: String
}

/// The columns of a statement's rows, learnt from its first answer.
final class PostgresColumns {
    private(set) var names: [String] = []
    private var types: [UInt32] = []

    /// Copies a result.
    func answer(_ result: borrowing PostgresResult) -> PostgresAnswer {
        let pointer = result.pointer
        let columns = PQnfields(pointer)
        if names.count != Int(columns) { learn(pointer, columns) }
        var rows: [Row] = []
        let count = PQntuples(pointer)
        rows.reserveCapacity(Int(count))
        for row in 0..<count {
            var values: [SQLValue] = []
            values.reserveCapacity(types.count)
            for column in 0..<columns { values.append(value(pointer, row, column)) }
            rows.append(Row(columns: names, values: values))
        }
        let changed = PQcmdTuples(pointer).flatMap { Int(String(cString: $0)) }
        let tag = PQcmdStatus(pointer).map { String(cString: $0) } ?? ""
        return PostgresAnswer(rows: rows, count: changed ?? 0, tag: tag)
    }

    private func learn(_ result: OpaquePointer, _ count: Int32) {
        names = (0..<count).map { PQfname(result, $0).map { String(cString: $0) } ?? "" }
        types = (0..<count).map { PQftype(result, $0) }
    }

    /// A value in SQLite's kinds: truth is 1 or 0, and a sum, which is `numeric`, an integer.
    private func value(_ result: OpaquePointer, _ row: Int32, _ column: Int32) -> SQLValue {
        guard PQgetisnull(result, row, column) == 0, let start = PQgetvalue(result, row, column)
        else { return .null }
        let length = Int(PQgetlength(result, row, column))
        let bytes = UnsafeRawBufferPointer(start: start, count: length)
        switch types[Int(column)] {
        case PostgresType.int8, PostgresType.int4, PostgresType.int2:
            return integer(bytes).map { .integer($0) } ?? .null
        case PostgresType.bool: return .integer(bytes.first == UInt8(ascii: "t") ? 1 : 0)
        case PostgresType.bytes: return .blob(Self.unescaped(bytes))
        case PostgresType.numeric, PostgresType.float4, PostgresType.float8:
            if let integer = integer(bytes) { return .integer(integer) }
            return Double(String(decoding: bytes, as: UTF8.self)).map { .real($0) } ?? .null
        default: return .text(String(decoding: bytes, as: UTF8.self))
        }
    }

    private func integer(_ text: UnsafeRawBufferPointer) -> Int64? {
        Int64(String(decoding: text, as: UTF8.self))
    }

    /// Bytes out of their text, which is hexadecimal behind `\x`.
    private static func unescaped(_ text: UnsafeRawBufferPointer) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(text.count / 2)
        var index = 2
        while index + 1 < text.count {
            bytes.append(nibble(text[index]) << 4 | nibble(text[index + 1]))
            index += 2
        }
        return bytes
    }

    private static func nibble(_ digit: UInt8) -> UInt8 {
        digit < UInt8(ascii: "a") ? digit & 0x0F : (digit & 0x0F) + 9
    }
}

extension DatabaseError {
    /// Reads the server's report of a statement's failure, by its class of error
    /// (postgresql.org/docs/15/errcodes-appendix.html).
    init(postgres result: borrowing PostgresResult, during text: String) {
        let state = proxy_gpt_pq_sqlstate(result.pointer).map { String(cString: $0) } ?? ""
        let message = proxy_gpt_pq_message(result.pointer).map { String(cString: $0) } ?? ""
        // A prepared statement is gone, or its table has changed, a transaction was idle for too
        // long, or the server takes no writes any more: another connection is needed.
        let isRefusal =
            ["26000", "25P03", "25006"].contains(state)
            || state == "0A000" && message.hasPrefix("cached plan")
        self.init(
            isRefusal ? .connection : Self.kind(of: state),
            state.isEmpty ? message : "\(message) [\(state)]", during: text)
        self.isRefusal = isRefusal
    }

    private static func kind(of state: String) -> Kind {
        switch state {
        case "23505": .uniqueViolation
        case "40001", "40P01": .conflict
        case "53100": .full
        case "57014": .interrupted
        case "55P03": .locked
        case "XX001", "XX002": .damaged
        default:
            switch state.prefix(2) {
            case "23": .constraint
            case "": .connection
            case "08", "57": .connection
            case "53": .busy
            case "58": .inputOutput
            default: .other
            }
        }
    }
}
