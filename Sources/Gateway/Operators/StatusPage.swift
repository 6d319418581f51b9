internal import Formats
internal import Metrics
internal import ProxyGPT

/// The pool's processes, as text or JSON.
struct StatusPage {
    let processes: [ProcessStatus]
    let version: String
    let now: Timestamp

    private var workers: [ProcessStatus] { processes.filter { $0.kind == "worker" } }

    private func seconds(since microseconds: Int64) -> Int64 {
        max(0, (now.milliseconds - microseconds / 1000) / 1000)
    }

    private func count(_ state: String) -> Int { workers.filter { $0.state == state }.count }

    private var summary: [(name: String, value: JSONValue)] {
        let start = processes.map(\.startedAt).min()
        return [
            ("pool", "proxy-gpt"), ("version", .string(version)),
            (
                "start time",
                start.map { .string("\(Timestamp(milliseconds: $0 / 1000))") } ?? .null
            ),
            ("start since", .integer(start.map { seconds(since: $0) } ?? 0)),
            ("accepted requests", .integer(Int64(processes.reduce(0) { $0 + $1.requests }))),
            ("failed requests", .integer(Int64(processes.reduce(0) { $0 + $1.errors }))),
            ("in flight", .integer(Int64(processes.reduce(0) { $0 + $1.inFlight }))),
            ("idle workers", .integer(Int64(count("idle")))),
            ("busy workers", .integer(Int64(count("busy")))),
            ("draining workers", .integer(Int64(count("draining")))),
            ("total workers", .integer(Int64(workers.count))),
            ("streamers", .integer(Int64(processes.count - workers.count))),
        ]
    }

    private func lines(_ process: ProcessStatus) -> [(name: String, value: JSONValue)] {
        [
            ("pid", .integer(Int64(process.process))), ("kind", .string(process.kind)),
            ("state", .string(process.state)),
            ("start time", .string("\(Timestamp(milliseconds: process.startedAt / 1000))")),
            ("start since", .integer(seconds(since: process.startedAt))),
            ("requests", .integer(Int64(process.requests))),
            ("failed requests", .integer(Int64(process.errors))),
            ("in flight", .integer(Int64(process.inFlight))),
            ("memory", .integer(Int64(process.memory))),
            ("last request route", process.lastRoute.map { .string($0) } ?? .null),
            (
                "last request age",
                process.lastRoute == nil ? .null : .integer(seconds(since: process.lastBeganAt))
            ),
            ("last request duration", process.lastTime.map { .integer($0) } ?? .null),
        ]
    }

    /// Seconds, bytes, and microseconds for durations.
    package func text(isFull: Bool) -> String {
        var text = Self.text(summary)
        if isFull {
            for process in processes {
                text += "\n************************\n" + Self.text(lines(process))
            }
        }
        return text
    }

    private static func text(_ lines: [(name: String, value: JSONValue)]) -> String {
        lines.reduce(into: "") { text, line in
            let name = line.name + ":"
            text += name + String(repeating: " ", count: max(1, 24 - name.utf8.count))
            switch line.value {
            case .string(let value): text += value
            case .null: text += "-"
            default: text += String(decoding: line.value.encoded, as: UTF8.self)
            }
            text += "\n"
        }
    }

    func json(isFull: Bool) -> JSONValue {
        var fields = summary
        if isFull {
            fields.append(("processes", .array(processes.map { Self.json(lines($0)) })))
        }
        return Self.json(fields)
    }

    private static func json(_ lines: [(name: String, value: JSONValue)]) -> JSONValue {
        .object(lines.map { ($0.name, $0.value) })
    }
}
