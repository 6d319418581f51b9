// A connection of libpq, from its making to its end.
//
// Owns a PGconn. Connecting blocks, for names are looked up, certificates read and several hosts tried
// in turn, so it happens on a thread of its own; afterwards only the loop touches the handle, and
// nothing blocks. Knows no statement.

internal import CPostgres
internal import EventLoop
internal import Formats
internal import ProxyGPT

/// Owns one connection to PostgreSQL.
final class PostgresHandle: @unchecked Sendable {
    // Sendable: the thread that connects hands the object on when it is done, and then the loop alone
    // uses it ("One thread restriction is that no two threads attempt to manipulate the same PGconn
    // object at the same time", postgresql.org/docs/15/libpq-threading.html).
    let pointer: OpaquePointer

    private init(_ pointer: OpaquePointer) {
        self.pointer = pointer
    }

    deinit {
        PQfinish(pointer)
    }

    /// Settings that the address may override: seconds to connect; when a host from which nothing
    /// comes back counts as gone, two seconds after something was sent or a keepalive; and that the
    /// server takes writes, where the address names several.
    private static let defaults = [
        ("connect_timeout", "5"), ("keepalives_idle", "1"), ("keepalives_interval", "1"),
        ("keepalives_count", "2"), ("tcp_user_timeout", "2000"),
        ("target_session_attrs", "read-write"), ("fallback_application_name", "proxy-gpt"),
    ]

    /// Connects, which takes as long as it takes. For threads that may wait.
    static func connect(_ address: Secret) throws(DatabaseError) -> PostgresHandle {
        // "if multiple values are given for the same keyword the last is used", those in an address
        // that stands for dbname included (libpq-connect.html, PQconnectdbParams).
        let parameters =
            defaults + [("dbname", address.revealed), ("client_encoding", "UTF8")]
        let pointer = withCStrings(parameters.map(\.0)) { keywords in
            withCStrings(parameters.map(\.1)) { values in
                PQconnectdbParams(keywords, values, 1)
            }
        }
        guard let pointer else {
            throw DatabaseError(.connection, "out of memory", during: "connect")
        }
        let handle = PostgresHandle(pointer)
        guard PQstatus(pointer) == CONNECTION_OK else {
            let needsOther = PQconnectionNeedsPassword(pointer) == 1
            throw DatabaseError(
                .connection,
                needsOther ? "the server asks for a password" : handle.message,
                during: "connect")
        }
        PQsetNoticeProcessor(pointer, { _, _ in }, nil)
        guard PQsetnonblocking(pointer, 1) == 0, PQenterPipelineMode(pointer) == 1 else {
            throw DatabaseError(.connection, handle.message, during: "connect")
        }
        return handle
    }

    /// libpq's message about the last failure, in one line.
    var message: String {
        // A password that is not escaped may be part of the name that libpq reads and quotes.
        let text = Self.hidingQuoted(
            PQerrorMessage(pointer).map { String(cString: $0) } ?? "",
            where: { $0.contains(UInt8(ascii: "@")) })
        let lines = text.split { $0 == "\n" || $0 == "\r" }.map { $0.drop { $0 == "\t" } }
        return lines.isEmpty ? "the connection is lost" : lines.joined(separator: "; ")
    }

    /// libpq's objection to an address, without any part of the address; nil when it can be used.
    static func problem(with address: Secret) -> String? {
        var message: UnsafeMutablePointer<CChar>?
        if let options = PQconninfoParse(address.revealed, &message) {
            PQconninfoFree(options)
            return nil
        }
        guard let message else { return "out of memory" }
        defer { PQfreemem(message) }
        // libpq quotes the text that it could not read, which may be part of a password.
        let said = hidingQuoted(String(cString: message), where: { _ in true })
        return said.split(separator: "\n").first.map(String.init) ?? "not an address"
    }

    /// The address's own lock timeout, as in `options=-c lock_timeout=2s`; nil where it has none.
    static func lockTimeout(in address: Secret) -> String? {
        guard let options = PQconninfoParse(address.revealed, nil) else { return nil }
        defer { PQconninfoFree(options) }
        var option = options
        while let keyword = option.pointee.keyword {
            if String(cString: keyword).hasSameBytes(as: "options"), let value = option.pointee.val
            {
                return lockTimeout(inOptions: String(cString: value))
            }
            option += 1
        }
        return nil
    }

    private static func lockTimeout(inOptions options: String) -> String? {
        var found: String?
        for part in options.utf8.split(separator: UInt8(ascii: " ")) {
            let pieces = part.split(
                separator: UInt8(ascii: "="), maxSplits: 1, omittingEmptySubsequences: false)
            guard pieces.count == 2 else { continue }
            // `-c name=value`, `-cname=value` or `--name=value`, where dashes replace underscores.
            let name = pieces[0].map { $0 == UInt8(ascii: "-") ? UInt8(ascii: "_") : $0 }
            let isIt = ["lock_timeout", "_clock_timeout", "__lock_timeout"].contains {
                name.elementsEqual($0.utf8)
            }
            let isPlain = pieces[1].allSatisfy {
                (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0)
                    || (UInt8(ascii: "a")...UInt8(ascii: "z")).contains($0)
            }
            if isIt, isPlain, (1...16).contains(pieces[1].count) {
                found = String(decoding: pieces[1], as: UTF8.self)
            }
        }
        return found
    }

    /// A text without the part between its first quote and its last: a password may contain quotes,
    /// too.
    static func hidingQuoted(
        _ text: String, where isSecret: (Substring.UTF8View) -> Bool
    ) -> String {
        let quote = UInt8(ascii: "\"")
        guard let first = text.utf8.firstIndex(of: quote),
            let last = text.utf8.lastIndex(of: quote), first < last
        else { return text }
        let start = text.utf8.index(after: first)
        guard isSecret(text[start..<last].utf8) else { return text }
        return String(text[..<start]) + "…" + String(text[last...])
    }
}

/// Calls `body` with an array of C strings that ends with nil.
private func withCStrings<T>(
    _ strings: [String], _ body: (UnsafePointer<UnsafePointer<CChar>?>?) -> T
) -> T {
    let bytes = strings.flatMap { Array($0.utf8CString) }
    return bytes.withUnsafeBufferPointer { buffer in
        var pointers: [UnsafePointer<CChar>?] = []
        var start = 0
        for string in strings {
            pointers.append(buffer.baseAddress.map { $0 + start })
            start += string.utf8CString.count
        }
        pointers.append(nil)
        return body(pointers)
    }
}
