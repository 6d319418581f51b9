internal import EventLoop
internal import Formats
internal import Glibc
internal import ProxyGPT

/// Shows that a state directory has its streamer. The lock (flock(2)) ends with the object, and
/// with the process however that ends; the file holds the number of the process.
package final class StreamerLock: Sendable {
    /// Another streamer serves from the same directory.
    package struct InUse: Error, Equatable, CustomStringConvertible {
        let directory: String
        /// The number of its process, where the file has one.
        let holder: Int32?

        package var description: String {
            let process = holder.map { "process \($0)" } ?? "another process"
            return "the state directory \(directory) is in use by the streamer of \(process)"
        }
    }

    private let descriptor: Int32

    /// Takes the lock at once, or throws `InUse`.
    package init(stateDirectory: String) throws {
        let path = stateDirectory + "/streamer.lock"
        descriptor = try Self.opened(path, in: stateDirectory)
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
            guard errno == EWOULDBLOCK else { throw SystemError("flock \(path)") }
            throw InUse(directory: stateDirectory, holder: Self.holder(descriptor))
        }
        // For a person to read: the lock holds on a full disk as well.
        let line = Array("\(getpid())\n".utf8)
        if pwrite(descriptor, line, line.count, 0) == line.count {
            ftruncate(descriptor, off_t(line.count))
        }
    }

    deinit {
        close(descriptor)
    }

    private static func opened(
        _ path: String, in directory: String
    ) throws(SystemError) -> Int32 {
        let flags = O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_CREAT | O_EXCL
        let new = open(path, flags, 0o600)
        if new >= 0 {
            // Or the service could not open a file that root has created.
            var status = stat()
            if geteuid() == 0, stat(directory, &status) == 0 {
                fchown(new, status.st_uid, status.st_gid)
            }
            return new
        }
        return try PlainFile.existing(path, O_RDWR)
    }

    private static func holder(_ descriptor: Int32) -> Int32? {
        var bytes = [UInt8](repeating: 0, count: 16)
        let count = pread(descriptor, &bytes, bytes.count, 0)
        return bytes.prefix(max(0, count)).prefix { $0 > 0x20 }.decimalNumber
            .flatMap { Int32(exactly: $0) }
    }
}
