// The executor of the process's one event loop: where jobs wait for the end of a turn.
//
// Owns an eventfd that wakes the loop when another thread adds a job. Jobs added on the loop's own
// thread take neither a lock nor a system call. Knows nothing of descriptors or timers.

internal import CLinux
internal import Glibc
internal import Synchronization

/// Runs jobs on the event loop's thread, as the executor of `EventLoop` and as a task's preference.
package final class LoopExecutor: SerialExecutor, TaskExecutor {
    private struct Remote: ~Copyable {
        var jobs: [UnownedJob] = []
        var isRung = false
    }

    /// The eventfd that turns readable when a job came from another thread.
    let wakeup: Int32
    private let remote = Mutex(Remote())
    private let thread = Atomic<UInt>(0)
    // Touched by the loop's thread only: `enqueue` checks the thread first, `runJobs` is called by
    // the loop alone.
    private nonisolated(unsafe) var local: [UnownedJob] = []
    private nonisolated(unsafe) var running: [UnownedJob] = []

    init() {
        wakeup = eventfd(0, Int32(EFD_CLOEXEC | EFD_NONBLOCK))
        precondition(wakeup >= 0, "eventfd failed: no event loop is possible")
        local.reserveCapacity(256)
        running.reserveCapacity(256)
    }

    /// Makes the calling thread the loop's own. Called once, before the first turn.
    func adoptCurrentThread() {
        thread.store(UInt(pthread_self()), ordering: .sequentiallyConsistent)
    }

    /// Whether the caller runs on the loop's thread.
    package var isCurrent: Bool {
        thread.load(ordering: .relaxed) == UInt(pthread_self())
    }

    package func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        if isCurrent {
            local.append(job)
            return
        }
        let mustRing = remote.withLock { remote in
            remote.jobs.append(job)
            defer { remote.isRung = true }
            return !remote.isRung
        }
        if mustRing {
            var one: UInt64 = 1
            _ = Glibc.write(wakeup, &one, 8)
        }
    }

    /// Takes over the jobs that other threads added. Called when the wakeup descriptor is readable.
    func takeSignal() {
        var count: UInt64 = 0
        _ = Glibc.read(wakeup, &count, 8)
        remote.withLock { remote in
            local.append(contentsOf: remote.jobs)
            remote.jobs.removeAll(keepingCapacity: true)
            remote.isRung = false
        }
    }

    /// Whether jobs wait for the next turn.
    var hasJobs: Bool { !local.isEmpty }

    /// Runs the gathered jobs, and those that they add, but neither for ever nor for long: sockets
    /// get their turn too.
    func runJobs() {
        var deadline: Int64 = .max
        for round in 0..<16 where !local.isEmpty {
            if round > 0 {
                let now = monotonicMicroseconds()
                if round == 1 { deadline = now &+ Self.turn }
                if now >= deadline { return }
            }
            swap(&local, &running)
            for job in running {
                job.runSynchronously(
                    isolatedTo: asUnownedSerialExecutor(), taskExecutor: asUnownedTaskExecutor())
            }
            running.removeAll(keepingCapacity: true)
        }
    }

    /// Microseconds after which no further round of jobs begins in a turn.
    private static let turn: Int64 = 1000

    package func checkIsolated() {
        precondition(isCurrent, "called off the event loop's thread")
    }

    package func isIsolatingCurrentContext() -> Bool? {
        isCurrent
    }
}
