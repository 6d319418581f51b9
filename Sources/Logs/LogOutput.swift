internal import Glibc
internal import Synchronization

/// Standard error, to which all log lines go.
///
/// Writing never waits. Under systemd the reader is the journal, which may hang, and the loop must
/// not. Standard error and its O_NONBLOCK are shared with other processes, so that the flag is not
/// changed.
package final class LogOutput: Sendable {
    package static let standardError = LogOutput(descriptor: 2)

    /// So many bytes are written whole or not at all: "O_NONBLOCK enabled, n <= PIPE_BUF: If there is
    /// not room to write n bytes to the pipe, then write(2) fails immediately" (pipe(7)).
    static let atomicSize = 4096

    private enum Kind {
        case socket
        /// An open file description of its own, which does not block.
        case ownDescription
        /// Descriptors that never block or cannot be opened a second time.
        case shared
    }

    private let descriptor: Int32
    private let kind: Kind
    private let lost = Atomic<Int>(0)

    /// - Parameter descriptor: stays the caller's.
    init(descriptor: Int32) {
        var status = stat()
        let mode = fstat(descriptor, &status) == 0 ? status.st_mode & S_IFMT : 0
        if mode == S_IFSOCK {
            (self.descriptor, kind) = (descriptor, .socket)
            return
        }
        // A regular file would be written from its beginning.
        if mode == S_IFIFO || mode == S_IFCHR {
            let own = open(
                "/proc/self/fd/\(descriptor)", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)
            if own >= 0 {
                (self.descriptor, kind) = (own, .ownDescription)
                return
            }
        }
        (self.descriptor, kind) = (descriptor, .shared)
    }

    deinit {
        if kind == .ownDescription { close(descriptor) }
    }

    /// Writes at once, each line as a whole, so that the lines of several processes do not mix.
    /// Lines that are not taken are counted, and the next line has the number.
    ///
    /// - Parameters:
    ///   - text: with its line break.
    ///   - lossLine: makes a line with the number of lost lines, in the form of `text`.
    package func write(_ text: String, lossLine: (Int) -> String = LogOutput.lossLine) {
        guard take(Array(text.utf8)) else {
            lost.add(1, ordering: .relaxed)
            return
        }
        let count = lost.exchange(0, ordering: .relaxed)
        if count > 0, !take(Array(lossLine(count).utf8)) { lost.add(count, ordering: .relaxed) }
    }

    package static func lossLine(_ count: Int) -> String {
        "warning lines were lost log.lost_lines=\(count)\n"
    }

    /// Writes pieces that are each taken as a whole; false when one is not taken.
    private func take(_ bytes: [UInt8]) -> Bool {
        var rest = bytes[...]
        while !rest.isEmpty {
            var piece = rest.prefix(Self.atomicSize)
            if piece.count < rest.count, let end = piece.lastIndex(of: 0x0A) {
                piece = piece[...end]
            }
            guard takePiece(piece) else { return false }
            rest = rest[piece.endIndex...]
        }
        return true
    }

    private func takePiece(_ piece: ArraySlice<UInt8>) -> Bool {
        piece.withUnsafeBytes { bytes in
            switch kind {
            case .socket:
                return send(
                    descriptor, bytes.baseAddress, bytes.count, Int32(MSG_DONTWAIT | MSG_NOSIGNAL))
                    == bytes.count
            case .ownDescription:
                return Glibc.write(descriptor, bytes.baseAddress, bytes.count) == bytes.count
            case .shared:
                var ready = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
                guard poll(&ready, 1, 0) == 1, ready.revents & Int16(POLLOUT) != 0 else {
                    return false
                }
                return Glibc.write(descriptor, bytes.baseAddress, bytes.count) == bytes.count
            }
        }
    }
}
