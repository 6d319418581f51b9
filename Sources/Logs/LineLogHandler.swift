internal import Glibc
package import Logging
internal import Synchronization

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
        let line = Self.line(event.level, "\(event.message)", all, isLeveled: true)
        Self.write((showsTime ? Self.time() + " " : "") + line + "\n")
    }

    /// An entry as a person reads it.
    static func line(
        _ level: Logger.Level, _ message: String, _ metadata: Logger.Metadata, isLeveled: Bool
    ) -> String {
        var line = isLeveled ? "\(level) \(message)" : message
        for (key, value) in metadata.sorted(by: { $0.key < $1.key }) {
            line += " \(key)=\(quoted("\(value)"))"
        }
        return line
    }

    /// Writes to standard error at once and as a whole, so that the lines of several processes do
    /// not mix.
    ///
    /// It never waits: what nobody takes is counted, and the number told with the next line. Under
    /// systemd the reader is the journal, which may hang where the loop must not.
    package static func write(_ text: String) {
        var ready = pollfd(fd: 2, events: Int16(POLLOUT), revents: 0)
        guard poll(&ready, 1, 0) == 1, ready.revents & Int16(POLLOUT) != 0 else {
            lost.add(1, ordering: .relaxed)
            return
        }
        let count = lost.exchange(0, ordering: .relaxed)
        let bytes = Array((count > 0 ? "\(text)warning \(count) lines were lost\n" : text).utf8)
        _ = Glibc.write(2, bytes, bytes.count)
    }

    private static let lost = Atomic<Int>(0)

    /// A value on one line; in quotes where it has spaces.
    private static func quoted(_ text: String) -> String {
        let needsQuotes = text.unicodeScalars.contains {
            $0.value <= 0x20 || $0 == "\"" || $0 == "="
        }
        guard needsQuotes || text.isEmpty else { return text }
        var quoted = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"", "\\": quoted += "\\\(scalar)"
            case "\n": quoted += "\\n"
            case _ where scalar.value < 0x20: quoted += " "
            default: quoted.unicodeScalars.append(scalar)
            }
        }
        return quoted + "\""
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
