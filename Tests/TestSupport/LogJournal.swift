package import Logging
internal import Synchronization

/// A log handler that keeps everything as text.
package final class LogJournal: Sendable {
    private let lines = Mutex<[String]>([])

    package init() {}

    package var text: String { lines.withLock { $0.joined(separator: "\n") } }

    package var logger: Logger {
        Logger(label: "test", factory: { _ in Handler(journal: self) })
    }

    private struct Handler: LogHandler {
        let journal: LogJournal
        var metadata: Logger.Metadata = [:]
        var logLevel = Logger.Level.trace

        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { metadata[key] }
            set { metadata[key] = newValue }
        }

        func log(event: LogEvent) {
            let line = "\(event.level) \(event.message) \(event.metadata ?? [:])"
            journal.lines.withLock { $0.append(line) }
        }
    }
}
