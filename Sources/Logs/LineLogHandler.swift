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
        let line = Self.line(event.level, "\(event.message)", all, isLeveled: true)
        LogOutput.standardError.write((showsTime ? Self.time() + " " : "") + line + "\n")
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
