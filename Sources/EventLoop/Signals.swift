internal import CLinux
internal import Glibc

/// Turns signals into calls on the loop, through a signalfd: no code runs in a signal handler.
@EventLoop package final class Signals {
    private let descriptor: Int32
    private var watch: Watch?

    /// Blocks the signals, for all threads that are started later. Called in `main` before any
    /// thread is started, and after libraries that install handlers of their own.
    package nonisolated static func block(_ signals: [Int32]) {
        var set = Self.set(signals)
        pthread_sigmask(SIG_BLOCK, &set, nil)
        ignoreFailedWrites()
    }

    /// Ignores the signals of writes that fail, which would end the process: of a pipe or socket without
    /// a reader (EPIPE), and of a file at its limit of size (EFBIG, setrlimit(2), RLIMIT_FSIZE). Called in
    /// `main` before anything is written.
    package nonisolated static func ignoreFailedWrites() {
        signal(SIGPIPE, SIG_IGN)
        signal(SIGXFSZ, SIG_IGN)
    }

    /// Calls `handler` with each of the (blocked) signals that arrives.
    package init(
        _ signals: [Int32], handler: @escaping @EventLoop (Int32) -> Void
    ) throws(SystemError) {
        var set = Self.set(signals)
        descriptor = signalfd(-1, &set, Int32(SFD_CLOEXEC | SFD_NONBLOCK))
        guard descriptor >= 0 else { throw SystemError("signalfd") }
        let descriptor = descriptor
        watch = try EventLoop.watch(descriptor, for: .readable) { _ in
            var info = signalfd_siginfo()
            while Glibc.read(descriptor, &info, MemoryLayout<signalfd_siginfo>.size) > 0 {
                handler(Int32(bitPattern: info.ssi_signo))
            }
        }
    }

    private nonisolated static func set(_ signals: [Int32]) -> sigset_t {
        var set = sigset_t()
        sigemptyset(&set)
        for signal in signals { sigaddset(&set, signal) }
        return set
    }
}
