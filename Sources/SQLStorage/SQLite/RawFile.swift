internal import EventLoop
internal import Glibc

/// A file as bytes, past SQLite. Never one of a database that this process has open: closing a
/// descriptor drops all locks that the process has on the file (fcntl(2), "record locks").
final class RawFile {
    private let path: String
    private let descriptor: Int32

    private init(path: String, descriptor: Int32) {
        self.path = path
        self.descriptor = descriptor
    }

    deinit {
        close(descriptor)
    }

    /// Opens a file to be read; nil where there is none.
    static func existing(_ path: String) throws(SystemError) -> RawFile? {
        do {
            return RawFile(path: path, descriptor: try PlainFile.existing(path, O_RDONLY))
        } catch {
            guard error.code == ENOENT else { throw error }
            return nil
        }
    }

    /// Makes a file that only its owner reads. Throws where there is one already.
    static func new(_ path: String) throws(SystemError) -> RawFile {
        RawFile(path: path, descriptor: try PlainFile.new(path))
    }

    func size() throws(SystemError) -> Int64 {
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw SystemError("fstat \(path)") }
        return Int64(status.st_size)
    }

    /// The first bytes, `count` of them or as many as there are.
    func beginning(_ count: Int) throws(SystemError) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        let read = try read(into: &bytes, at: 0)
        return Array(bytes[..<read])
    }

    /// Copies the first `length` bytes, or all there are, to `target` and returns how many.
    @discardableResult
    func copy(_ length: Int64 = .max, to target: RawFile) throws(SystemError) -> Int64 {
        var buffer = [UInt8](repeating: 0, count: 1024 * 1024)
        var position: Int64 = 0
        while position < length {
            var count = try read(into: &buffer, at: position)
            if count == 0 { break }
            count = Int(min(Int64(count), length - position))
            try target.write(buffer, count: count, at: position)
            position += Int64(count)
        }
        return position
    }

    /// Returns when the disk has everything.
    func synchronize() throws(SystemError) {
        guard fsync(descriptor) == 0 else { throw SystemError("fsync \(path)") }
    }

    /// Returns when the disk knows a directory's names.
    static func synchronize(directoryOf path: String) throws(SystemError) {
        let directory = path.lastIndex(of: "/").map { String(path[...$0]) } ?? "."
        let descriptor = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { throw SystemError("open \(directory)") }
        defer { close(descriptor) }
        guard fsync(descriptor) == 0 else { throw SystemError("fsync \(directory)") }
    }

    private func read(into buffer: inout [UInt8], at position: Int64) throws(SystemError) -> Int {
        while true {
            let count = pread(descriptor, &buffer, buffer.count, off_t(position))
            if count >= 0 { return count }
            guard errno == EINTR else { throw SystemError("read \(path)") }
        }
    }

    private func write(_ bytes: [UInt8], count: Int, at position: Int64) throws(SystemError) {
        var written = 0
        while written < count {
            let result = bytes[written..<count].withUnsafeBytes {
                pwrite(descriptor, $0.baseAddress, $0.count, off_t(position) + off_t(written))
            }
            if result > 0 {
                written += result
            } else if errno != EINTR {
                throw SystemError("write \(path)")
            }
        }
    }
}

@available(*, unavailable) extension RawFile: Sendable {}
