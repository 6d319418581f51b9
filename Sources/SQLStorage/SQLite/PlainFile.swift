// Opens files by name. Operators run commands as root on a directory that belongs to the service's
// user, which could put a link or a pipe under any name in it.

internal import EventLoop
internal import Glibc

/// Opens regular files, never through a link in the last component of a path.
enum PlainFile {
    /// Opens a file that is there. Throws where the name is a link's, or that of no regular file.
    static func existing(_ path: String, _ access: Int32) throws(SystemError) -> Int32 {
        // Without O_NONBLOCK opening a pipe waits for its other end.
        let descriptor = open(path, access | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)
        guard descriptor >= 0 else {
            throw SystemError(errno == ELOOP ? "\(path) is a link" : "open \(path)")
        }
        var status = stat()
        guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
            close(descriptor)
            throw SystemError("\(path) is no regular file", code: EINVAL)
        }
        return descriptor
    }

    /// Makes a file that only its owner reads and writes. Throws where the name is taken.
    static func new(_ path: String) throws(SystemError) -> Int32 {
        let flags = O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC
        let descriptor = open(path, flags, 0o600)
        guard descriptor >= 0 else { throw SystemError("open \(path)") }
        return descriptor
    }

    /// Opens a file, which is made where there is none.
    static func existingOrNew(_ path: String, _ access: Int32) throws(SystemError) -> Int32 {
        // Another process may make or remove it between the two.
        for _ in 0..<100 {
            do {
                return try existing(path, access)
            } catch {
                guard error.code == ENOENT else { throw error }
            }
            do {
                return try new(path)
            } catch {
                guard error.code == EEXIST else { throw error }
            }
        }
        throw SystemError("open \(path)", code: EAGAIN)
    }

    /// The path without links in any component but the last, which need not exist.
    static func resolved(_ path: String) throws(SystemError) -> String {
        let slash = path.utf8.lastIndex(of: UInt8(ascii: "/"))
        let directory = slash.map { String(path[...$0]) } ?? "."
        let name = slash.map { String(path[path.utf8.index(after: $0)...]) } ?? path
        guard let real = realpath(directory, nil) else { throw SystemError("open \(path)") }
        defer { free(real) }
        let parent = String(cString: real)
        return parent == "/" ? "/" + name : parent + "/" + name
    }
}
