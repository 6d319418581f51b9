internal import Glibc
package import Logging

/// The destination and the form of a program's log.
package enum Logs {
    /// - Parameters:
    ///   - name: the program's.
    ///   - level: one of swift-log's level names.
    ///   - format: `auto`, `text`, `json` or `journal`.
    ///   - journalStream: the value of JOURNAL_STREAM, `DEVICE:INODE` of standard error.
    package static func logger(
        _ name: String, level: String, format: String, journalStream: String?
    ) -> Logger {
        let level = Logger.Level(rawValue: level) ?? .info
        let isJournals =
            format == "journal" || format == "auto" && leadsToJournal(journalStream, descriptor: 2)
        if isJournals, let journal = JournalSocket() {
            return Logger(label: name) { _ in
                JournalLogHandler(level, program: name, journal: journal)
            }
        }
        if format == "json" {
            return Logger(label: name) { _ in JSONLogHandler(level, program: name) }
        }
        return LineLogHandler.logger(name, level: level.rawValue)
    }

    /// "If services print to standard output and are connected to the journal … the environment
    /// variable is set and the device and inode numbers match" (systemd.exec(5), JOURNAL_STREAM): a
    /// program that the service starts with another standard error inherits the variable as well.
    static func leadsToJournal(_ stream: String?, descriptor: Int32) -> Bool {
        guard let numbers = stream?.split(separator: ":"), numbers.count == 2,
            let device = UInt64(numbers[0]), let inode = UInt64(numbers[1])
        else { return false }
        var status = stat()
        return fstat(descriptor, &status) == 0 && UInt64(status.st_dev) == device
            && UInt64(status.st_ino) == inode
    }

    /// The longest value of an entry in the journal; longer ones are cut.
    static let valueLimit = 8 * 1024

    /// A text of at most `valueLimit` bytes.
    static func cut(_ text: String) -> String {
        guard text.utf8.count > valueLimit else { return text }
        var value = BoundedLine(limit: valueLimit)
        value.add(text, room: valueLimit) { _ in nil }
        return value.text
    }
}
