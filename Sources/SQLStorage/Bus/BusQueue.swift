// Frames on their way to the bus's writer. `FrameQueue` decides which frames are carried when, and
// which are dropped.
//
// Filled by any thread, which never waits; emptied by the writer's thread, which sleeps here.

internal import EventLoop
internal import ProxyGPT
internal import Synchronization

/// Hands frames to the writer's thread.
final class BusQueue: Sendable {
    /// Milliseconds without a commit, or the trial of one, after which the file counts as not written.
    private static let silence: Int64 = 5000

    /// The next work of the writer.
    enum Work {
        case batch, alarm, end
    }

    private struct State: Sendable {
        var frames: FrameQueue
        var sleep: Sleep?
        /// When something was committed last, and whether something else failed since.
        var writtenAt = monotonicMilliseconds()
        var hasFailed = false
        /// The log's epoch, as the last transaction has found it.
        var epoch: String?
        var hasEnded = false
        var closers: [UnsafeContinuation<Void, Never>] = []
    }

    /// The event that ends the writer's sleep.
    private enum Sleep {
        case untilSignal, untilFull, untilDeadline
    }

    private let state: Mutex<State>
    private let wakeup = ThreadWakeup()

    init(bounds: FrameQueue.Bounds = FrameQueue.Bounds()) {
        state = Mutex(State(frames: FrameQueue(bounds: bounds)))
    }

    // MARK: - Filling

    /// Takes a frame.
    /// - Returns: how many frames were dropped since the last report, when a report is due.
    func add(_ frame: StreamFrame) -> Int? {
        let (wakes, report) = state.withLock { state -> (Bool, Int?) in
            let (isTaken, report) = state.frames.add(frame, now: monotonicMilliseconds())
            guard isTaken else { return (false, report) }
            switch state.sleep {
            case .untilSignal: break
            case .untilFull where state.frames.isFull: break
            default: return (false, nil)
            }
            state.sleep = nil
            return (true, nil)
        }
        if wakes { wakeup.signal() }
        return report
    }

    /// Resumes `continuation` once everything that is in the queue now is committed or given up.
    func flush(_ continuation: UnsafeContinuation<Void, Never>) {
        let isWaiting = state.withLock { state in
            guard !state.hasEnded, state.frames.flush({ continuation.resume() }) else {
                return false
            }
            state.sleep = nil
            return true
        }
        if isWaiting { wakeup.signal() } else { continuation.resume() }
    }

    /// Takes no more frames; resumes `continuation` when the writer has ended.
    func close(_ continuation: UnsafeContinuation<Void, Never>) {
        let isDone = state.withLock { state in
            state.frames.close()
            state.sleep = nil
            if !state.hasEnded { state.closers.append(continuation) }
            return state.hasEnded
        }
        if isDone { continuation.resume() } else { wakeup.signal() }
    }

    /// Whether the file takes frames, as far as is known: a writer that waits for the lock of another
    /// process reports neither success nor failure.
    var isWritten: Bool {
        state.withLock { !$0.hasFailed && monotonicMilliseconds() - $0.writtenAt < Self.silence }
    }

    // MARK: - Emptying

    /// Reads and changes the list of ends that are not committed.
    func withEnds<T: Sendable>(_ body: (inout PendingEnds) -> T) -> T {
        state.withLock { body(&$0.frames.pendingEnds) }
    }

    /// The log's epoch; nil while the file cannot be written.
    var epoch: String? { state.withLock { $0.hasFailed ? nil : $0.epoch } }

    func note(epoch: String) {
        state.withLock { $0.epoch = epoch }
    }

    /// Takes note of whether the file could be written just now.
    func note(isWritten: Bool) {
        state.withLock { state in
            state.hasFailed = !isWritten
            if isWritten { state.writtenAt = monotonicMilliseconds() }
        }
    }

    /// Returns the next work when it is time: a batch, an alarm, or the end. A batch does not come
    /// before `earliest`, unless a flush or the end waits for it.
    func waitForWork(earliest: Int64, alarm: Int64) -> Work {
        while true {
            let now = monotonicMilliseconds()
            var deadline = alarm
            let work: Work? = state.withLock { state in
                state.sleep = nil
                switch state.frames.next(now: now) {
                case .nothing:
                    if state.frames.isClosed { return .end }
                    state.sleep = .untilSignal
                case .batch:
                    if now >= earliest || state.frames.isUrgent { return .batch }
                    deadline = min(alarm, earliest)
                    state.sleep = .untilDeadline
                case .wait(let due):
                    deadline = min(alarm, max(due, earliest))
                    state.sleep = now < earliest ? .untilDeadline : .untilFull
                }
                return now >= alarm ? .alarm : nil
            }
            if let work { return work }
            wakeup.wait(until: deadline)
        }
    }

    /// Takes the oldest frames, a batch at the most.
    func take() -> [StreamFrame] {
        state.withLock { $0.frames.take(now: monotonicMilliseconds()) }
    }

    /// Takes note that a batch is committed.
    func settle(_ batch: [StreamFrame]) {
        for waiter in state.withLock({ $0.frames.settle(batch) }) { waiter() }
    }

    /// Takes note that a batch could not be committed. Returns as `add`.
    func giveUp(_ batch: [StreamFrame]) -> Int? {
        let (waiters, report) = state.withLock {
            $0.frames.giveUp(batch, now: monotonicMilliseconds())
        }
        for waiter in waiters { waiter() }
        return report
    }

    /// Takes note that the writer has ended, and resumes every caller that waits.
    func end() {
        let (closers, waiters) = state.withLock { state in
            state.hasEnded = true
            defer { state.closers = [] }
            return (state.closers, state.frames.takeWaiters())
        }
        for closer in closers { closer.resume() }
        for waiter in waiters { waiter() }
    }
}
