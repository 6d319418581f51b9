// Frames on their way to Redis. `FrameQueue` decides which frames are sent when, and which are
// dropped.
//
// Filled by any thread, which never waits; emptied on the loop. While Redis is away, which it is at
// first, deltas are dropped and ends wait.

internal import EventLoop
internal import ProxyGPT
internal import Synchronization

/// Hands frames to the sender on the loop.
final class BusQueue: Sendable {
    private struct State: Sendable {
        var frames: FrameQueue
        /// Whether the sender will look into the queue without being woken.
        var isAwaited = false
    }

    private let state: Mutex<State>

    init(bounds: FrameQueue.Bounds = FrameQueue.Bounds()) {
        state = Mutex(State(frames: FrameQueue(bounds: bounds, isAway: true)))
    }

    // MARK: - Filling

    /// Takes a frame.
    /// - Returns: whether the sender must be woken, and how many frames were dropped since the last
    ///   report when a report is due.
    func add(_ frame: StreamFrame) -> (wakes: Bool, dropped: Int?) {
        state.withLock { state in
            let wasReady = state.frames.isFull || state.frames.isUrgent
            let (isTaken, dropped) = state.frames.add(frame, now: monotonicMilliseconds())
            guard isTaken else { return (false, dropped) }
            let isReady = state.frames.isFull || state.frames.isUrgent
            let wakes = !state.isAwaited || isReady && !wasReady
            state.isAwaited = true
            return (wakes, nil)
        }
    }

    /// Resumes `continuation` once everything that is in the queue now was sent or given up. While
    /// Redis is away that is at once.
    func flush(_ continuation: UnsafeContinuation<Void, Never>) {
        let isWaiting = state.withLock { $0.frames.flush { continuation.resume() } }
        if !isWaiting { continuation.resume() }
    }

    /// Takes no more frames.
    func close() {
        state.withLock { $0.frames.close() }
    }

    // MARK: - Emptying

    /// Returns what there is to send.
    func next(now: Int64) -> FrameQueue.Next {
        state.withLock { state in
            let next = state.frames.next(now: now)
            if next == .nothing { state.isAwaited = false }
            return next
        }
    }

    /// Takes the oldest frames, a batch at the most.
    func take(now: Int64) -> [StreamFrame] {
        state.withLock { $0.frames.take(now: now) }
    }

    /// Takes note that a batch arrived.
    func settle(_ batch: [StreamFrame]) {
        for waiter in state.withLock({ $0.frames.settle(batch) }) { waiter() }
    }

    /// Takes note that a batch did not arrive, as far as is known.
    /// - Returns: how many frames were dropped since the last report, when a report is due.
    func giveUp(_ batch: [StreamFrame]) -> Int? {
        let (waiters, dropped) = state.withLock {
            $0.frames.giveUp(batch, now: monotonicMilliseconds())
        }
        for waiter in waiters { waiter() }
        return dropped
    }

    /// Takes note that Redis is away. Returns as `giveUp`.
    func redisWentAway() -> Int? {
        let (waiters, dropped) = state.withLock {
            $0.frames.busWentAway(now: monotonicMilliseconds())
        }
        for waiter in waiters { waiter() }
        return dropped
    }

    /// Takes note that Redis is there.
    func redisReturned() {
        state.withLock { $0.frames.busReturned() }
    }

    /// Reads and changes the list of ends that have not arrived.
    func withEnds<T: Sendable>(_ body: (inout PendingEnds) -> T) -> T {
        state.withLock { body(&$0.frames.pendingEnds) }
    }
}
