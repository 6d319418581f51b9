internal import Glibc
package import Logging

/// Writes one line for each entry to standard error: level, message, metadata. The journal adds the
/// time; on a terminal it is in front.
package struct LineLogHandler: LogHandler {
    package var logLevel: Logger.Level
    package var metadata: Logger.Metadata = [:]
    private let showsTime: Bool

    /// - Parameter level: one of swift-log's level names.
    package static func logger(_ label: String, level: String) -> Logger {
        Logger(label: label) { _ in
            LineLogHandler(
                logLevel: Logger.Level(rawValue: level) ?? .info, showsTime: isatty(2) == 1)
        }
    }

    private init(logLevel: Logger.Level, showsTime: Bool) {
        self.logLevel = logLevel
        self.showsTime = showsTime
    }

    package subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    package func log(event: LogEvent) {
        let all = metadata.merging(event.metadata ?? [:]) { $1 }
        let line = Self.line(
            event.level, "\(event.message)", all, isLeveled: true, limit: Self.limit)
        LogOutput.standardError.write((showsTime ? Self.time() + " " : "") + line + "\n")
    }

    /// The limit of a line, which leaves room for the time and the line's end in the bytes that a
    /// pipe takes at once.
    static let limit = LogOutput.atomicSize - 16

    /// An entry as a line for people.
    static func line(
        _ level: Logger.Level, _ message: String, _ metadata: Logger.Metadata, isLeveled: Bool,
        limit: Int
    ) -> String {
        var line = BoundedLine(limit: limit)
        line.add(isLeveled ? "\(level) " : "")
        line.add(message, room: limit / 2) { _ in nil }
        line.addFields(metadata.mapValues { "\($0)" }, overhead: 4, closing: 0) {
            line, name, value, room in
            line.add(" \(name)=")
            add(value, room: room, to: &line)
        }
        return line.text
    }

    /// Adds a value on one line; in quotes where it has spaces.
    private static func add(_ text: String, room: Int, to line: inout BoundedLine) {
        let needsQuotes = text.utf8.contains {
            $0 <= 0x20 || $0 == UInt8(ascii: "\"") || $0 == UInt8(ascii: "=")
        }
        guard needsQuotes || text.isEmpty else { return line.add(text, room: room) { _ in nil } }
        line.add("\"")
        line.add(text, room: room) { byte in
            switch byte {
            case UInt8(ascii: "\""), UInt8(ascii: "\\"): [UInt8(ascii: "\\"), byte]
            case 0x0A: Array("\\n".utf8)
            case 0..<0x20: [0x20]
            default: nil
            }
        }
        line.add("\"")
    }

    private static func time() -> String {
        var now = time_t()
        Glibc.time(&now)
        var parts = tm()
        localtime_r(&now, &parts)
        var text = [CChar](repeating: 0, count: 16)
        strftime(&text, text.count, "%H:%M:%S", &parts)
        return String(
            decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}
