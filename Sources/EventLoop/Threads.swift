// Threads for what may block: the loop's own thread never waits.

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

    /// What only urgent work may take.
    package struct Reserve: Sendable {
        /// Threads that run no other work.
        let threads: Int
        /// Places in the queue.
        let places: Int

        package init(threads: Int, places: Int) {
            self.threads = threads
            self.places = places
        }

        package static let none = Reserve(threads: 0, places: 0)
    }

    private struct State {
        var urgent: [@Sendable () -> Void] = []
        var other: [@Sendable () -> Void] = []
        /// Pieces of work that run and are not urgent.
        var runningOthers = 0
        var lastWasUrgent = false

        var count: Int { urgent.count + other.count }
    }

    private let state = Mutex(State())
    private let work = Semaphore()
    private let capacity: Int
    private let reserve: Reserve
    private let threads: Int

    /// - Parameter capacity: how many pieces of work may wait beside those that run.
    package init(name: String, threads: Int, capacity: Int, reserve: Reserve = .none) {
        self.capacity = capacity
        self.reserve = reserve
        self.threads = threads
        for _ in 0..<threads {
            // The threads live as long as the process, and the pool with them.
            startThread(name: name) { self.serve() }
        }
    }

    /// Runs `body` on one of the threads and returns what it returns. Throws `Full` at once when
    /// the queue is full.
    /// - Parameter isUrgent: whether the work may take what is reserved.
    package func run<T: Sendable>(
        isUrgent: Bool = true, _ body: @escaping @Sendable () throws -> T
    ) async throws -> T {
        try await withCheckedThrowingContinuation { continuation in
            let isAdded = state.withLock { state in
                guard state.count < capacity,
                    isUrgent || state.other.count < capacity - reserve.places
                else { return false }
                let piece: @Sendable () -> Void = {
                    continuation.resume(with: Result { try body() })
                }
                if isUrgent { state.urgent.append(piece) } else { state.other.append(piece) }
                return true
            }
            if isAdded { work.signal() } else { continuation.resume(throwing: Full()) }
        }
    }

    private func serve() {
        while true {
            work.wait()
            guard let (piece, isUrgent) = take() else { continue }
            piece()
            if !isUrgent { finishOther() }
        }
    }

    /// The next piece of work. Both kinds take turns, so that neither waits for ever; without a thread
    /// that may run it, other work stays where it is.
    private func take() -> (piece: @Sendable () -> Void, isUrgent: Bool)? {
        state.withLock { state in
            let mayRunOther =
                !state.other.isEmpty && state.runningOthers < threads - reserve.threads
            if !state.urgent.isEmpty, !mayRunOther || !state.lastWasUrgent {
                state.lastWasUrgent = true
                return (state.urgent.removeFirst(), true)
            }
            guard mayRunOther else { return nil }
            state.lastWasUrgent = false
            state.runningOthers += 1
            return (state.other.removeFirst(), false)
        }
    }

    /// Makes room for the other work that waits, whose permit a thread may have used in vain.
    private func finishOther() {
        let isWaiting = state.withLock { state in
            state.runningOthers -= 1
            return !state.other.isEmpty
        }
        if isWaiting { work.signal() }
    }
}

/// Ends the process, with what was written flushed, but without the clean-up that libraries have
/// registered (atexit(3)): OpenSSL's would free what another thread uses that just makes a connection.
package func endProcess(_ code: Int32) -> Never {
    fflush(nil)
    _exit(code)
}
