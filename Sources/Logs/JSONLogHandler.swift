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

    /// An entry as an object, in fewer bytes than a pipe takes as a whole.
    static func line(
        _ level: Logger.Level, _ message: String, _ metadata: Logger.Metadata, program: String,
        time: String
    ) -> String {
        var line = BoundedLine(limit: LogOutput.atomicSize - 1)
        line.add(#"{"time":"\#(time)","level":"\#(level)","program":"\#(program)","message":"#)
        add(message, room: LogOutput.atomicSize / 2, to: &line)
        line.addFields(metadata.mapValues { "\($0)" }, overhead: 6, closing: 1) {
            line, name, value, room in
            line.add(",")
            add(name, room: name.utf8.count, to: &line)
            line.add(":")
            add(value, room: room, to: &line)
        }
        line.add("}")
        return line.text
    }

    private static func add(_ text: String, room: Int, to line: inout BoundedLine) {
        line.add("\"")
        line.add(text, room: room) { byte in
            switch byte {
            case UInt8(ascii: "\""), UInt8(ascii: "\\"): [UInt8(ascii: "\\"), byte]
            case 0x0A: Array("\\n".utf8)
            case 0..<0x20: Array("\\u00".utf8) + [digit(byte >> 4), digit(byte & 0xF)]
            default: nil
            }
        }
        line.add("\"")
    }

    private static func digit(_ value: UInt8) -> UInt8 {
        value < 10 ? UInt8(ascii: "0") + value : UInt8(ascii: "a") + value - 10
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
