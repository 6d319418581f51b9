internal import Glibc
internal import Logging

/// Writes each entry to standard error as a JSON object on a line.
struct JSONLogHandler: LogHandler {
    var logLevel: Logger.Level
    var metadata: Logger.Metadata = [:]
    private let program: String

    init(_ level: Logger.Level, program: String) {
        logLevel = level
        self.program = program
    }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        let all = metadata.merging(event.metadata ?? [:]) { $1 }
        write(event.level, "\(event.message)", all, to: .standardError)
    }

    func write(
        _ level: Logger.Level, _ message: String, _ metadata: Logger.Metadata, to output: LogOutput
    ) {
        let time = Self.time()
        output.write(
            Self.line(level, message, metadata, program: program, time: time) + "\n"
        ) { [program] count in
            Self.line(
                .warning, "lines were lost", ["log.lost_lines": "\(count)"], program: program,
                time: time) + "\n"
        }
    }

    static func line(
        _ level: Logger.Level, _ message: String, _ metadata: Logger.Metadata, program: String,
        time: String
    ) -> String {
        var line = #"{"time":"\#(time)","level":"\#(level)","program":\#(quoted(program))"#
        line += #","message":\#(quoted(message))"#
        for (key, value) in metadata.sorted(by: { $0.key < $1.key }) {
            line += ",\(quoted(key)):\(quoted("\(value)"))"
        }
        return line + "}"
    }

    private static func quoted(_ text: String) -> String {
        var quoted = "\""
        for scalar in Logs.cut(text).unicodeScalars {
            switch scalar {
            case "\"", "\\": quoted += "\\\(scalar)"
            case "\n": quoted += "\\n"
            case _ where scalar.value < 0x20:
                let digits = String(scalar.value, radix: 16)
                quoted += "\\u" + String(repeating: "0", count: 4 - digits.utf8.count) + digits
            default: quoted.unicodeScalars.append(scalar)
            }
        }
        return quoted + "\""
    }

    /// RFC 3339 in UTC with milliseconds.
    private static func time() -> String {
        var now = timespec()
        clock_gettime(CLOCK_REALTIME, &now)
        var parts = tm()
        gmtime_r(&now.tv_sec, &parts)
        var text = [CChar](repeating: 0, count: 32)
        strftime(&text, text.count, "%Y-%m-%dT%H:%M:%S", &parts)
        let seconds = String(
            decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        let rest = String(now.tv_nsec / 1_000_000)
        return seconds + "." + String(repeating: "0", count: 3 - rest.utf8.count) + rest + "Z"
    }
}
