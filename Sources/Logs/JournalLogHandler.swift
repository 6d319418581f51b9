// The journal's own protocol: https://systemd.io/JOURNAL_NATIVE_PROTOCOL/
//
// An entry is a datagram of fields. Sending never waits: where the journal does not take the entry,
// the line goes to standard error. Values are cut so that an entry always fits into a datagram, and
// no sealed memory file is needed.

internal import EventLoop
internal import Logging

/// Sends entries to the journal's socket.
final class JournalSocket: Sendable {
    /// The most bytes of an entry: half of a socket's default send buffer (socket(7)).
    static let entryLimit = 96 * 1024

    private let socket: DatagramSocket
    private let address: Sockets.UnixAddress

    /// Nil where there can be no socket.
    init?(path: String = "/run/systemd/journal/socket") {
        guard let socket = try? DatagramSocket(),
            let address = try? Sockets.UnixAddress(path: path)
        else { return nil }
        self.socket = socket
        self.address = address
    }

    func send(_ entry: [UInt8]) -> Bool { socket.send(entry, to: address) }
}

/// Writes each entry with its metadata as fields.
struct JournalLogHandler: LogHandler {
    var logLevel: Logger.Level
    var metadata: Logger.Metadata = [:]
    private let program: String
    private let journal: JournalSocket

    init(_ level: Logger.Level, program: String, journal: JournalSocket) {
        logLevel = level
        self.program = program
        self.journal = journal
    }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        let all = metadata.merging(event.metadata ?? [:]) { $1 }
        func line(isLeveled: Bool, limit: Int) -> String {
            LineLogHandler.line(
                event.level, "\(event.message)", all, isLeveled: isLeveled, limit: limit)
        }
        var entry: [UInt8] = []
        Self.append("PRIORITY", String(Self.priority(event.level)), to: &entry)
        Self.append("SYSLOG_IDENTIFIER", program, to: &entry)
        // The message has all fields for people; each is a field of the journal as well.
        Self.append("MESSAGE", line(isLeveled: false, limit: Logs.valueLimit), to: &entry)
        for (key, value) in all.sorted(by: { $0.key < $1.key }) {
            guard let name = Self.fieldName(key), entry.count < JournalSocket.entryLimit / 2 else {
                continue
            }
            Self.append(name, Logs.cut("\(value)"), to: &entry)
        }
        if !journal.send(entry) {
            LogOutput.standardError.write(
                line(isLeveled: true, limit: LineLogHandler.limit) + "\n")
        }
    }

    /// The journal's severities are syslog's.
    private static func priority(_ level: Logger.Level) -> Int {
        switch level {
        case .critical: 2
        case .error: 3
        case .warning: 4
        case .notice: 5
        case .info: 6
        case .debug, .trace: 7
        }
    }

    /// `request.id` is `PROXY_GPT_REQUEST_ID`: capitals, digits and underscores, at most 64.
    static func fieldName(_ key: String) -> String? {
        let name = key.utf8.map { byte -> UInt8 in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"): byte - 32
            case UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "0")...UInt8(ascii: "9"): byte
            default: UInt8(ascii: "_")
            }
        }
        let field = "PROXY_GPT_" + String(decoding: name, as: UTF8.self)
        return !name.isEmpty && field.utf8.count <= 64 ? field : nil
    }

    /// A value with line breaks goes with its length, the others on a line.
    static func append(_ name: String, _ value: String, to entry: inout [UInt8]) {
        entry.append(contentsOf: name.utf8)
        if value.utf8.contains(0x0A) {
            entry.append(0x0A)
            let count = UInt64(value.utf8.count)
            for shift in 0..<8 {
                entry.append(UInt8(truncatingIfNeeded: count >> UInt64(8 * shift)))
            }
        } else {
            entry.append(UInt8(ascii: "="))
        }
        entry.append(contentsOf: value.utf8)
        entry.append(0x0A)
    }
}
