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
    /// Groups that may fail before whoever flushes waits no longer.
    static let failureLimit = 20

    /// What there is to send.
    enum Next {
        case nothing
        /// Less than a group, which may wait for more.
        case some
        case group([StreamFrame])
    }

    /// Somebody who waits for what was in the queue when they came.
    fileprivate struct Flusher {
        let continuation: UnsafeContinuation<Void, Never>
        /// Frames that are still before them, those under way included.
        var ahead: Int
        /// Groups that they saw fail: ends come back each time, and nobody waits for ever.
        var failures = 0
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
        /// Frames of the group that is being sent.
        var underWay = 0
        var flushers: [Flusher] = []
        /// Dropped frames that no log line has told of, and since when.
        var dropped = 0
        var lastReport: Int64?
        var ends = PendingEnds()

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
            let isAdmitted = state.admits(frame, size, bounds)
            state.ends.add(frame, isTaken: isAdmitted, now: monotonicMilliseconds())
            guard isAdmitted else { return (false, state.countDropped(1)) }
            let wasGroup = state.isGroup
            state.frames.append(frame)
            state.bytes += size
            let wakes = !state.isAwaited || state.isGroup && !wasGroup
            state.isAwaited = true
            return (wakes, nil)
        }
    }

    /// Resumes `continuation` once all that is in the queue now was sent or given up. While Redis is
    /// away that is at once.
    func flush(_ continuation: UnsafeContinuation<Void, Never>) {
        let isDone = state.withLock { state in
            let ahead = state.underWay + state.count
            if state.isAway || ahead == 0 { return true }
            state.flushers.append(Flusher(continuation: continuation, ahead: ahead))
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
    func settle(_ group: [StreamFrame]) {
        let flushers = state.withLock { state in
            state.settle(group.count)
            state.ends.carried(group)
            return state.takeDone()
        }
        resume(flushers)
    }

    /// Says that a group did not arrive, as far as is known. Its ends come back to the head of the
    /// queue, its words are lost, and so are all other words of those messages. Returns as `add`.
    func giveUp(_ group: [StreamFrame]) -> Int? {
        let (flushers, report) = state.withLock { state in
            for frame in group where !frame.isEnd { state.silenced.insert(frame.messageID) }
            let silenced = state.silenced
            state.settle(group.count)
            let dropped = state.purge { silenced.contains($0) }
            for index in state.flushers.indices { state.flushers[index].failures += 1 }
            // Before the ends come back, which are before all who still wait.
            let flushers = state.takeDone()
            let ends = group.filter(\.isEnd)
            let isRoom = state.putBack(ends, bounds)
            if !isRoom { state.ends.dropped(ends) }
            let lost = group.count - (isRoom ? ends.count : 0)
            return (flushers, state.countDropped(lost + dropped))
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
            let dropped = state.purge { _ in true }
            // Who flushes would wait for ends that wait for Redis.
            defer { state.flushers = [] }
            return (state.flushers, state.countDropped(dropped))
        }
        resume(flushers)
        return report
    }

    /// Says that Redis is there.
    func recover() {
        state.withLock { $0.isAway = false }
    }

    /// What is known of ends that have not arrived.
    func withEnds<T: Sendable>(_ body: (inout PendingEnds) -> T) -> T {
        state.withLock { body(&$0.ends) }
    }

    private func resume(_ flushers: [Flusher]) {
        for flusher in flushers { flusher.continuation.resume() }
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
        underWay += taken.count
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
    fileprivate mutating func purge(_ isLost: (Message.ID) -> Bool) -> Int {
        var rest: [StreamFrame] = []
        var dropped: [Int] = []
        for (index, frame) in frames[start...].enumerated() {
            if frame.isEnd || !isLost(frame.messageID) {
                rest.append(frame)
            } else {
                dropped.append(underWay + index)
            }
        }
        for index in flushers.indices {
            let ahead = flushers[index].ahead
            flushers[index].ahead -= dropped.count { $0 < ahead }
        }
        replace(with: rest)
        return dropped.count
    }

    /// Puts ends before everything else, and whoever waits for something behind them waits for them
    /// once more. False where there is no room: then they are lost.
    fileprivate mutating func putBack(_ ends: [StreamFrame], _ bounds: FrameQueue.Bounds) -> Bool {
        if isClosed || ends.count + count > 2 * bounds.frames {
            for end in ends { silenced.remove(end.messageID) }
            return false
        }
        for index in flushers.indices { flushers[index].ahead += ends.count }
        replace(with: ends + frames[start...])
        return true
    }

    private mutating func replace(with rest: [StreamFrame]) {
        frames = rest
        start = 0
        bytes = frames.reduce(0) { $0 + $1.size }
    }

    fileprivate mutating func countDropped(_ count: Int) -> Int? {
        dropped += count
        let now = monotonicMilliseconds()
        if dropped == 0 || lastReport.map({ now - $0 < 1000 }) ?? false { return nil }
        lastReport = now
        defer { dropped = 0 }
        return dropped
    }

    /// Counts frames of a group that is no longer under way.
    fileprivate mutating func settle(_ count: Int) {
        underWay -= count
        for index in flushers.indices { flushers[index].ahead -= count }
    }

    fileprivate mutating func takeDone() -> [FrameQueue.Flusher] {
        func isDone(_ flusher: FrameQueue.Flusher) -> Bool {
            flusher.ahead <= 0 || flusher.failures >= FrameQueue.failureLimit
        }
        let done = flushers.filter(isDone)
        if !done.isEmpty { flushers.removeAll(where: isDone) }
        return done
    }
}
