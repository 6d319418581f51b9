// Frames on their way to the bus's writer.
//
// Filled by any thread, which never waits; emptied by the writer's. Bounds: 16,384 frames and
// 8 MiB. When it is full, words are dropped, and with them all later words of their message, so
// that what subscribers see of a reply stays a prefix of it. Ends are small and worth more: they
// have twice the room.

internal import EventLoop
internal import ProxyGPT
internal import Synchronization

/// Gathers frames for the writer's next group.
final class BusQueue: Sendable {
    /// How much waits at most.
    struct Bounds: Sendable {
        var frames = 16_384
        var bytes = 8 * 1024 * 1024
    }

    /// Milliseconds from one group to the next, unless the next one is full before.
    static let gathering: Int64 = 20
    static let groupFrames = 64
    static let groupBytes = 128 * 1024
    /// Milliseconds without a commit, or the trial of one, after which the file counts as not written.
    private static let silence: Int64 = 5000

    /// What the writer does next.
    enum Work {
        case group, alarm, end
    }

    fileprivate struct State: Sendable {
        var frames: [StreamFrame] = []
        var bytes = 0
        /// Messages that have lost words, until their end: at most as many as replies are under way.
        var silenced: Set<Message.ID> = []
        /// Frames that were ever taken into the queue, and those that are committed or given up.
        var added: UInt64 = 0
        var settled: UInt64 = 0
        var flushers: [(mark: UInt64, continuation: UnsafeContinuation<Void, Never>)] = []
        /// Dropped frames that no log line has told of.
        var dropped = 0
        var lastReport: Int64?
        var sleep: Sleep?
        /// When something was committed last, and whether something else failed since.
        var writtenAt = monotonicMilliseconds()
        var hasFailed = false
        var ends = PendingEnds()
        /// The log's, as the last transaction has found it.
        var epoch: String?
        var isClosed = false
        var hasEnded = false
        var closers: [UnsafeContinuation<Void, Never>] = []

        var isGroup: Bool { frames.count >= BusQueue.groupFrames || bytes >= BusQueue.groupBytes }
    }

    /// What wakes the writer while it waits.
    fileprivate enum Sleep {
        case untilRung, untilFull, untilDeadline
    }

    private let state = Mutex(State())
    private let bell = Doorbell()
    private let bounds: Bounds

    init(bounds: Bounds = Bounds()) {
        self.bounds = bounds
    }

    // MARK: - Filling

    /// Takes a frame; when it was dropped and a second has passed since that was said last,
    /// returns how many were dropped meanwhile.
    func add(_ frame: StreamFrame) -> Int? {
        let size = frame.size
        let (wakes, report) = state.withLock { state -> (Bool, Int?) in
            let isAdmitted = state.admits(frame, size, bounds)
            state.ends.add(frame, isTaken: isAdmitted, now: monotonicMilliseconds())
            guard isAdmitted else { return (false, state.countDropped(1)) }
            state.frames.append(frame)
            state.bytes += size
            state.added += 1
            switch state.sleep {
            case .untilRung: break
            case .untilFull where state.isGroup: break
            default: return (false, nil)
            }
            state.sleep = nil
            return (true, nil)
        }
        if wakes { bell.ring() }
        return report
    }

    /// Resumes `continuation` once all that is in the queue now is committed or given up.
    func flush(_ continuation: UnsafeContinuation<Void, Never>) {
        let isDone = state.withLock { state in
            if state.settled == state.added || state.hasEnded { return true }
            state.flushers.append((state.added, continuation))
            state.sleep = nil
            return false
        }
        if isDone { continuation.resume() } else { bell.ring() }
    }

    /// Takes nothing more; `continuation` learns when the writer has ended.
    func close(_ continuation: UnsafeContinuation<Void, Never>) {
        let isDone = state.withLock { state in
            state.isClosed = true
            state.sleep = nil
            if !state.hasEnded { state.closers.append(continuation) }
            return state.hasEnded
        }
        if isDone { continuation.resume() } else { bell.ring() }
    }

    /// Whether the file takes frames, as far as is known: a writer that waits for somebody else's lock
    /// says nothing at all.
    var isWritten: Bool {
        state.withLock { !$0.hasFailed && monotonicMilliseconds() - $0.writtenAt < Self.silence }
    }

    // MARK: - Emptying

    /// What is known of ends that are not committed.
    func withEnds<T: Sendable>(_ body: (inout PendingEnds) -> T) -> T {
        state.withLock { body(&$0.ends) }
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

    /// Returns what there is to do, when it is time: a group that is full at once, a smaller one
    /// from `due` on, an alarm at its time, and nothing of this before `earliest`, unless somebody
    /// waits for the end.
    func waitForWork(due: Int64, earliest: Int64, alarm: Int64) -> Work {
        while true {
            let now = monotonicMilliseconds()
            var deadline = alarm
            let work: Work? = state.withLock { state in
                state.sleep = nil
                if !state.frames.isEmpty {
                    if state.isClosed || !state.flushers.isEmpty { return .group }
                    let time = state.isGroup ? earliest : max(due, earliest)
                    if now >= time { return .group }
                    deadline = min(alarm, time)
                    state.sleep = now < earliest ? .untilDeadline : .untilFull
                } else {
                    if state.isClosed { return .end }
                    state.sleep = .untilRung
                }
                return now >= alarm ? .alarm : nil
            }
            if let work { return work }
            bell.wait(until: deadline)
        }
    }

    /// Takes a group's worth of frames, oldest first.
    func take() -> [StreamFrame] {
        state.withLock { state in
            var taken: [StreamFrame] = []
            var size = 0
            for frame in state.frames.prefix(Self.groupFrames) {
                if size >= Self.groupBytes { break }
                size += frame.size
                if frame.isEnd { state.silenced.remove(frame.messageID) }
                taken.append(frame)
            }
            state.bytes -= size
            if taken.count == state.frames.count {
                state.frames.removeAll(keepingCapacity: state.frames.capacity <= 1024)
            } else {
                state.frames.removeFirst(taken.count)
            }
            return taken
        }
    }

    /// Says that a group is committed.
    func settle(_ group: [StreamFrame]) {
        let flushers = state.withLock { state in
            state.ends.carried(group)
            return state.settle(group.count)
        }
        for flusher in flushers { flusher.resume() }
    }

    /// Says that a group could not be committed. Its ends come back to the head of the queue, its
    /// words are lost, and so are all other words of those messages. Returns as `add`.
    func giveUp(_ group: [StreamFrame]) -> Int? {
        let (flushers, report) = state.withLock { state in
            var rest = state.frames
            let before = rest.count + group.count
            for frame in group where !frame.isEnd { state.silenced.insert(frame.messageID) }
            rest.removeAll { !$0.isEnd && state.silenced.contains($0.messageID) }
            let purged = before - group.count - rest.count
            var ends = group.filter(\.isEnd)
            if state.isClosed || ends.count + rest.count > 2 * bounds.frames {
                for end in ends { state.silenced.remove(end.messageID) }
                state.ends.dropped(ends)
                ends = []
            }
            state.frames = ends + rest
            state.bytes = state.frames.reduce(0) { $0 + $1.size }
            // Ends that came back count a second time: whoever flushes waits for one attempt.
            state.added += UInt64(ends.count)
            let flushers = state.settle(group.count + purged)
            return (flushers, state.countDropped(before - state.frames.count))
        }
        for flusher in flushers { flusher.resume() }
        return report
    }

    /// Marks the end of the writer and wakes who waits for it.
    func end() {
        let waiting = state.withLock { state in
            state.hasEnded = true
            defer {
                state.closers.removeAll()
                state.flushers.removeAll()
            }
            return state.closers + state.flushers.map(\.continuation)
        }
        for continuation in waiting { continuation.resume() }
    }
}

extension BusQueue.State {
    fileprivate mutating func admits(
        _ frame: StreamFrame, _ size: Int, _ bounds: BusQueue.Bounds
    ) -> Bool {
        if isClosed { return false }
        if frame.isEnd {
            if frames.count < 2 * bounds.frames { return true }
            silenced.remove(frame.messageID)
            return false
        }
        if !silenced.isEmpty, silenced.contains(frame.messageID) { return false }
        // A single frame may be larger than the bound: alone it is let in.
        if frames.isEmpty || frames.count < bounds.frames && bytes + size <= bounds.bytes {
            return true
        }
        silenced.insert(frame.messageID)
        return false
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

extension StreamFrame {
    /// What it weighs in the queue and in a group, roughly, in bytes.
    var size: Int {
        switch content {
        case .words(let text, let prompt): 256 + text.utf8.count + (prompt?.utf8.count ?? 0)
        case .ended: 256
        }
    }
}
