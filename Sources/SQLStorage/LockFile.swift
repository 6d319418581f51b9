internal import EventLoop
internal import Glibc

/// A file beside the database that is there to be locked (flock(2)). The lock goes with the object,
/// and with the process.
final class LockFile: Sendable {
    enum Mode {
        case shared, exclusive
    }

    private let descriptor: Int32

    init(_ path: String) throws(SystemError) {
        descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw SystemError("open \(path)") }
        if geteuid() == 0 { giveToOwnerOfDirectory(path) }
    }

    deinit {
        // A child that does not run its program yet has the descriptor too, and would keep the lock.
        unlock()
        close(descriptor)
    }

    /// Waits for the lock.
    func lock(_ mode: Mode) throws(SystemError) {
        while flock(descriptor, mode.operation) != 0 {
            guard errno == EINTR else { throw SystemError("flock") }
        }
    }

    /// Takes the lock if nobody is in the way.
    func tryLock(_ mode: Mode) -> Bool {
        flock(descriptor, mode.operation | LOCK_NB) == 0
    }

    func unlock() {
        flock(descriptor, LOCK_UN)
    }

    // Or the service could not open what root has made.
    private func giveToOwnerOfDirectory(_ path: String) {
        let directory = path.lastIndex(of: "/").map { String(path[...$0]) } ?? "."
        var status = stat()
        guard stat(directory, &status) == 0 else { return }
        fchown(descriptor, status.st_uid, status.st_gid)
    }
}

extension LockFile.Mode {
    fileprivate var operation: Int32 {
        switch self {
        case .shared: LOCK_SH
        case .exclusive: LOCK_EX
        }
    }
}
