internal import Logging

/// Writes log lines of the libraries to standard error, in the form of the command's own errors.
struct StandardErrorLogHandler: LogHandler {
    var logLevel = Logger.Level.error
    var metadata: Logger.Metadata = [:]

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        let details = (event.metadata ?? [:]).sorted { $0.key < $1.key }
            .map { "\($0.key)=\($0.value)" }
        let line = (["\(event.message)"] + details).joined(separator: " ")
        Console.report(CommandError(line))
    }
}
