internal import EventLoop
internal import Glibc

/// A file beside the database that exists only to be locked (flock(2)). The lock ends with the
/// object, and with the process.
final class LockFile: Sendable {
    enum Mode {
        case shared, exclusive
    }

    private let descriptor: Int32

    init(_ path: String) throws(SystemError) {
        descriptor = try PlainFile.existingOrNew(path, O_RDWR)
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

    /// Takes the lock if no other process has it.
    func tryLock(_ mode: Mode) -> Bool {
        flock(descriptor, mode.operation | LOCK_NB) == 0
    }

    func unlock() {
        flock(descriptor, LOCK_UN)
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
