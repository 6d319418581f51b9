internal import Glibc
internal import Synchronization

/// Where lines go: standard error, by everybody who writes to it.
package final class LogOutput: Sendable {
    package static let standardError = LogOutput(descriptor: 2)

    private let descriptor: Int32
    private let lost = Atomic<Int>(0)

    /// - Parameter descriptor: stays the caller's.
    init(descriptor: Int32) {
        self.descriptor = descriptor
    }

    /// Writes at once and as a whole, so that the lines of several processes do not mix.
    ///
    /// It never waits: what nobody takes is counted, and the number told with the next line. Under
    /// systemd the reader is the journal, which may hang where the loop must not.
    ///
    /// - Parameters:
    ///   - text: with its line break.
    ///   - lossLine: says in the form of `text` how many lines were lost.
    package func write(_ text: String, lossLine: (Int) -> String = LogOutput.lossLine) {
        var ready = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
        guard poll(&ready, 1, 0) == 1, ready.revents & Int16(POLLOUT) != 0 else {
            lost.add(1, ordering: .relaxed)
            return
        }
        let count = lost.exchange(0, ordering: .relaxed)
        let bytes = Array((count > 0 ? text + lossLine(count) : text).utf8)
        _ = Glibc.write(descriptor, bytes, bytes.count)
    }

    package static func lossLine(_ count: Int) -> String {
        "warning lines were lost log.lost_lines=\(count)\n"
    }
}
