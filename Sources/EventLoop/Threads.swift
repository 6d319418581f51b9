// Threads for blocking work: the loop's own thread never waits.

internal import CLinux
internal import Glibc
internal import Synchronization

/// Starts a detached thread; `name` shows in top and gdb, at most 15 bytes.
package func startThread(name: String, _ body: @escaping @Sendable () -> Void) {
    final class Start {
        let name: String
        let body: @Sendable () -> Void
        init(_ name: String, _ body: @escaping @Sendable () -> Void) {
            self.name = name
            self.body = body
        }
    }
    let start = Unmanaged.passRetained(Start(name, body))
    var thread = pthread_t()
    let code = pthread_create(
        &thread, nil,
        { argument in
            guard let argument else { return nil }
            let start = Unmanaged<Start>.fromOpaque(argument).takeRetainedValue()
            proxy_gpt_name_thread(start.name)
            start.body()
            return nil
        }, start.toOpaque())
    precondition(code == 0, "pthread_create failed: the process cannot do its work")
    pthread_detach(thread)
}

/// Lets threads of the usual priority go before the calling one where there are fewer processors than
/// both need: setpriority(2), which on Linux means one thread. Where that is forbidden nothing changes.
/// - Parameter nice: 0 to 19, where 19 gives way most.
package func lowerThreadPriority(nice: Int32) {
    _ = setpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0, nice)
}

/// Counts permits, for a thread that waits for work: an eventfd, see eventfd(2), EFD_SEMAPHORE.
package final class Semaphore: Sendable {
    private let descriptor: Int32

    package init() {
        descriptor = eventfd(0, Int32(EFD_CLOEXEC | EFD_SEMAPHORE))
        precondition(descriptor >= 0, "eventfd failed: the process cannot do its work")
    }

    deinit {
        close(descriptor)
    }

    /// Adds a permit; never blocks.
    package func signal() {
        var one: UInt64 = 1
        while Glibc.write(descriptor, &one, 8) < 0 && errno == EINTR {}
    }

    /// Takes a permit, blocking the thread until there is one.
    package func wait() {
        var count: UInt64 = 0
        while Glibc.read(descriptor, &count, 8) < 0 && errno == EINTR {}
    }
}

/// A few threads that do blocking work for tasks, with a bounded queue.
package final class ThreadPool: Sendable {
    /// Thrown when as much work waits as may wait.
    package struct Full: Error, CustomStringConvertible {
        package var description: String { "too much work waits for a thread" }
    }

    private let pieces = Mutex<[@Sendable () -> Void]>([])
    private let work = Semaphore()
    private let capacity: Int

    /// - Parameter capacity: how many pieces of work may wait beside those that run.
    package init(name: String, threads: Int, capacity: Int) {
        self.capacity = capacity
        for _ in 0..<threads {
            // The threads live as long as the process, and the pool with them.
            startThread(name: name) { self.serve() }
        }
    }

    /// Runs `body` on one of the threads and returns its result. Throws `Full` at once when the
    /// queue is full.
    package func run<T: Sendable>(_ body: @escaping @Sendable () throws -> T) async throws -> T {
        try await withCheckedThrowingContinuation { continuation in
            let isAdded = pieces.withLock { pieces in
                guard pieces.count < capacity else { return false }
                pieces.append { continuation.resume(with: Result { try body() }) }
                return true
            }
            if isAdded { work.signal() } else { continuation.resume(throwing: Full()) }
        }
    }

    private func serve() {
        while true {
            work.wait()
            let piece = pieces.withLock { $0.removeFirst() }
            piece()
        }
    }
}

/// Ends the process after a flush of its output, but without the clean-up that libraries have
/// registered (atexit(3)): OpenSSL's would free data of another thread that just makes a
/// connection.
package func endProcess(_ code: Int32) -> Never {
    fflush(nil)
    _exit(code)
}
