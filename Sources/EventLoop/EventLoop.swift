// The process's one event loop: epoll, timers and the tasks that run between them.
//
// Owns the epoll descriptor and the table of watches. Everything marked `@EventLoop` runs on its
// thread, which the compiler checks, so that the loop's data needs no lock. Knows nothing of the
// purpose of the descriptors.

internal import CLinux
internal import Glibc

/// The isolation of all that runs on the event loop's thread.
@globalActor package actor EventLoop {
    package static let shared = EventLoop()

    package nonisolated let executor = LoopExecutor()

    package nonisolated var unownedExecutor: UnownedSerialExecutor {
        executor.asUnownedSerialExecutor()
    }

    /// Runs `body` as the loop's own code. Only for callbacks that C calls on the loop's thread.
    package nonisolated static func assumeIsolated<T>(
        _ body: @EventLoop () throws -> T
    ) rethrows -> T {
        shared.executor.checkIsolated()
        return try runUnchecked(body)
    }

    // A global actor's closure differs from a plain one in its type alone; MainActor's own
    // assumeIsolated takes the same way.
    private nonisolated static func runUnchecked<T>(
        _ body: @EventLoop () throws -> T
    ) rethrows -> T {
        try withoutActuallyEscaping(body) { body in
            try unsafeBitCast(body, to: (() throws -> T).self)()
        }
    }

    /// Makes the calling thread the loop's and serves until `main` returns; then returns itself.
    package nonisolated static func run(_ main: @escaping @EventLoop () async -> Void) {
        shared.executor.adoptCurrentThread()
        runUnchecked {
            spawn {
                await main()
                poller.stop()
            }
            poller.serve(shared.executor)
        }
    }

    /// Serves on a thread of its own for the rest of the process; for programs whose first thread
    /// has other work. No effect the second time: there is one loop.
    package nonisolated static func startOnOwnThread() {
        ownThread
    }

    private nonisolated static let ownThread: Void = startThread(name: "event-loop") {
        run { await withUnsafeContinuation { (_: UnsafeContinuation<Void, Never>) in } }
    }

    /// Starts a task that runs on the loop from beginning to end.
    @discardableResult
    package nonisolated static func spawn(
        _ body: @escaping @EventLoop () async -> Void
    ) -> Task<Void, Never> {
        Task(executorPreference: shared.executor, operation: body)
    }

    @EventLoop private static let poller = Poller()

    /// Calls `handler` whenever `descriptor` is ready for `interest`, until the watch is cancelled.
    /// The descriptor stays the caller's, which cancels the watch before closing it. Throws when
    /// the kernel refuses, as it does for regular files.
    @EventLoop package static func watch(
        _ descriptor: Int32, for interest: Readiness,
        handler: @escaping @EventLoop (Readiness) -> Void
    ) throws(SystemError) -> Watch {
        try poller.watch(descriptor, for: interest, handler: handler)
    }

    /// Calls `handler` once after `milliseconds`, unless the timer is cancelled before.
    @EventLoop @discardableResult
    package static func schedule(
        afterMilliseconds milliseconds: Int64, handler: @escaping @EventLoop () -> Void
    ) -> Timer {
        poller.timers.add(deadline: monotonicMilliseconds() &+ max(0, milliseconds), handler)
    }

    /// Calls `action` once when everything that is ready in this turn is done, before the loop
    /// waits again: for work that is cheaper done once for many.
    @EventLoop package static func atEndOfTurn(_ action: @escaping @EventLoop () -> Void) {
        poller.atEndOfTurn(action)
    }

    /// Calls `observer` with the length of every turn: the time for which nothing else could run. A
    /// new observer replaces the earlier one.
    @EventLoop package static func observeTurns(
        _ observer: @escaping @EventLoop (_ microseconds: Int64) -> Void
    ) {
        poller.turnObserver = observer
    }

    /// Suspends the task until the next turn, in which all that is kept for one turn is new.
    @EventLoop package static func nextTurn() async {
        await withUnsafeContinuation { continuation in
            atEndOfTurn { continuation.resume() }
        }
    }

    /// Suspends the task for `milliseconds`; returns early when it is cancelled.
    @EventLoop package static func sleep(milliseconds: Int64) async {
        let sleeper = Sleeper()
        await withTaskCancellationHandler {
            await withUnsafeContinuation { continuation in
                sleeper.begin(continuation, milliseconds: milliseconds)
            }
        } onCancel: {
            spawn { sleeper.end() }
        }
    }
}

@EventLoop private final class Sleeper {
    private var continuation: UnsafeContinuation<Void, Never>?
    private var timer: Timer?
    private var hasEnded = false

    func begin(_ continuation: UnsafeContinuation<Void, Never>, milliseconds: Int64) {
        if hasEnded {
            continuation.resume()
            return
        }
        self.continuation = continuation
        timer = EventLoop.schedule(afterMilliseconds: milliseconds) { self.end() }
    }

    func end() {
        hasEnded = true
        timer?.cancel()
        timer = nil
        continuation?.resume()
        continuation = nil
    }
}

/// The system call that failed, and its error.
package struct SystemError: Error, CustomStringConvertible {
    package let call: String
    package let code: Int32

    package init(_ call: String, code: Int32 = errno) {
        self.call = call
        self.code = code
    }

    package var description: String {
        "\(call): \(String(cString: strerror(code)))"
    }
}

/// Returns milliseconds that only ever grow (CLOCK_MONOTONIC).
package func monotonicMilliseconds() -> Int64 { monotonicMicroseconds() / 1000 }

/// As `monotonicMilliseconds`, in microseconds.
func monotonicMicroseconds() -> Int64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Int64(time.tv_sec) * 1_000_000 + Int64(time.tv_nsec) / 1000
}
