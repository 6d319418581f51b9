// Frames on their way to Redis.
//
// Filled by any thread, which never waits; emptied on the loop. Bounds: 16,384 frames and 8 MiB. When
// it is full, or Redis is away, words are dropped, and with them all later words of their message, so
// that what subscribers see of a reply stays a prefix of it. Ends are small and worth more: they stay
// until Redis is back, twice as many as other frames.

internal import EventLoop
internal import ProxyGPT
internal import Synchronization

/// Gathers frames for the next group.
final class FrameQueue: Sendable {
    /// How much waits at most.
    struct Bounds: Sendable {
        var frames = 16_384
        var bytes = 8 * 1024 * 1024
    }

    static let groupFrames = 64
    static let groupBytes = 128 * 1024

    /// What there is to send.
    enum Next {
        case nothing
        /// Less than a group, which may wait for more.
        case some
        case group([StreamFrame])
    }

    fileprivate struct State {
        var frames: [StreamFrame] = []
        var start = 0
        var bytes = 0
        /// Messages that have lost words, until their end: at most as many as replies are under way.
        var silenced: Set<Message.ID> = []
        var isAway = true
        var isClosed = false
        /// Whether somebody will come and look.
        var isAwaited = false
        var added: UInt64 = 0
        var settled: UInt64 = 0
        var flushers: [(mark: UInt64, continuation: UnsafeContinuation<Void, Never>)] = []
        /// Dropped frames that no log line has told of, and since when.
        var dropped = 0
        var lastReport: Int64?

        var count: Int { frames.count - start }
        var isGroup: Bool {
            count >= FrameQueue.groupFrames || bytes >= FrameQueue.groupBytes
                || count > 0 && (isClosed || !flushers.isEmpty)
        }
    }

    private let state = Mutex(State())
    private let bounds: Bounds

    init(bounds: Bounds = Bounds()) {
        self.bounds = bounds
    }

    // MARK: - Filling

    /// Takes a frame. Says whether somebody has to come and look, and when frames were dropped and a
    /// second has passed since that was told last, how many.
    func add(_ frame: StreamFrame) -> (wakes: Bool, dropped: Int?) {
        let size = frame.size
        return state.withLock { state in
            guard state.admits(frame, size, bounds) else { return (false, state.countDropped(1)) }
            let wasGroup = state.isGroup
            state.frames.append(frame)
            state.bytes += size
            state.added += 1
            let wakes = !state.isAwaited || state.isGroup && !wasGroup
            state.isAwaited = true
            return (wakes, nil)
        }
    }

    /// Resumes `continuation` once all that is in the queue now was sent or given up. While Redis is
    /// away that is at once.
    func flush(_ continuation: UnsafeContinuation<Void, Never>) {
        let isDone = state.withLock { state in
            if state.isAway || state.settled == state.added { return true }
            state.flushers.append((state.added, continuation))
            return false
        }
        if isDone { continuation.resume() }
    }

    /// Takes nothing more.
    func close() {
        state.withLock { $0.isClosed = true }
    }

    // MARK: - Emptying

    /// Returns what there is to send.
    /// - Parameter mayGather: less than a group waits for more.
    func next(mayGather: Bool) -> Next {
        state.withLock { state in
            guard state.count > 0 else {
                state.isAwaited = false
                return .nothing
            }
            if mayGather && !state.isGroup { return .some }
            return .group(state.take())
        }
    }

    /// Says that a group arrived.
    func settle(_ count: Int) {
        resume(state.withLock { $0.settle(count) })
    }

    /// Says that a group did not arrive, as far as is known. Its ends come back to the head of the
    /// queue, its words are lost, and so are all other words of those messages. Returns as `add`.
    func giveUp(_ group: [StreamFrame]) -> Int? {
        let (flushers, report) = state.withLock { state in
            for frame in group where !frame.isEnd { state.silenced.insert(frame.messageID) }
            let silenced = state.silenced
            let dropped = state.purge(prepending: group.filter(\.isEnd), bounds) {
                silenced.contains($0)
            }
            let lost = group.count(where: { !$0.isEnd })
            return (state.settle(group.count + dropped), state.countDropped(lost + dropped))
        }
        resume(flushers)
        return report
    }

    /// Says that Redis is away: words are dropped until it is back. Returns as `add`.
    func lose() -> Int? {
        let (flushers, report) = state.withLock { state in
            state.isAway = true
            for frame in state.frames[state.start...] where !frame.isEnd {
                state.silenced.insert(frame.messageID)
            }
            let dropped = state.purge(prepending: [], bounds) { _ in true }
            // Who flushes would wait for ends that wait for Redis.
            defer { state.flushers = [] }
            return (
                state.settle(dropped) + state.flushers.map(\.continuation),
                state.countDropped(dropped)
            )
        }
        resume(flushers)
        return report
    }

    /// Says that Redis is there.
    func recover() {
        state.withLock { $0.isAway = false }
    }

    private func resume(_ flushers: [UnsafeContinuation<Void, Never>]) {
        for flusher in flushers { flusher.resume() }
    }
}

extension FrameQueue.State {
    fileprivate mutating func admits(
        _ frame: StreamFrame, _ size: Int, _ bounds: FrameQueue.Bounds
    ) -> Bool {
        if isClosed { return false }
        if frame.isEnd {
            if count < 2 * bounds.frames { return true }
            silenced.remove(frame.messageID)
            return false
        }
        if !silenced.isEmpty, silenced.contains(frame.messageID) { return false }
        // A single frame may be larger than the bound: alone it is let in.
        if !isAway,
            count == 0 || count < bounds.frames && bytes + size <= bounds.bytes
        {
            return true
        }
        silenced.insert(frame.messageID)
        return false
    }

    fileprivate mutating func take() -> [StreamFrame] {
        var taken: [StreamFrame] = []
        var size = 0
        while count > 0, taken.count < FrameQueue.groupFrames, size < FrameQueue.groupBytes {
            let frame = frames[start]
            start += 1
            size += frame.size
            taken.append(frame)
            if frame.isEnd { silenced.remove(frame.messageID) }
        }
        bytes -= size
        if count == 0 {
            frames.removeAll(keepingCapacity: frames.capacity <= 1024)
            start = 0
        } else if start > 1024 {
            frames.removeFirst(start)
            start = 0
        }
        return taken
    }

    /// Drops the words of some messages; returns how many frames that were.
    fileprivate mutating func purge(
        prepending ends: [StreamFrame], _ bounds: FrameQueue.Bounds,
        _ isLost: (Message.ID) -> Bool
    ) -> Int {
        let before = count
        let rest = frames[start...].filter { $0.isEnd || !isLost($0.messageID) }
        var dropped = before - rest.count
        if isClosed || ends.count + rest.count > 2 * bounds.frames {
            dropped += ends.count
            for end in ends { silenced.remove(end.messageID) }
            frames = rest
        } else {
            frames = ends + rest
            // Ends that came back count a second time: whoever flushes waits for one attempt.
            added += UInt64(ends.count)
        }
        start = 0
        bytes = frames.reduce(0) { $0 + $1.size }
        return dropped
    }

    fileprivate mutating func countDropped(_ count: Int) -> Int? {
        dropped += count
        let now = monotonicMilliseconds()
        if dropped == 0 || lastReport.map({ now - $0 < 1000 }) ?? false { return nil }
        lastReport = now
        defer { dropped = 0 }
        return dropped
    }

    fileprivate mutating func settle(_ count: Int) -> [UnsafeContinuation<Void, Never>] {
        settled += UInt64(count)
        let done = flushers.filter { $0.mark <= settled }.map(\.continuation)
        if !done.isEmpty { flushers.removeAll { $0.mark <= settled } }
        return done
    }
}
