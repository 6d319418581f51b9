// The frames of one process that its bus has not carried yet: one policy for every bus.
//
// Batches: the first frame after a pause leaves at once, later frames gather for 20 ms, or until 64
// frames or 128 KiB are there. Bounds: 16,384 frames and 8 MiB. When the queue is full, or the bus is
// away, deltas are dropped, and with them all later deltas of their message, so that what
// subscribers see of a reply stays a prefix of it. Ends are small and worth more: they have twice
// the room, and come back to the head of the queue when their batch fails.
//
// A value without clock, lock and thread: an adapter passes the time, guards the value and does the
// waiting.

/// Gathers frames into batches, in the order in which they were published.
package struct FrameQueue: Sendable {
    /// The most that may wait.
    package struct Bounds: Sendable {
        package var frames: Int
        package var bytes: Int

        package init(frames: Int = 16_384, bytes: Int = 8 * 1024 * 1024) {
            self.frames = frames
            self.bytes = bytes
        }
    }

    /// Resumes one caller of `flush`.
    package typealias Waiter = @Sendable () -> Void

    /// What the adapter does next.
    package enum Next: Sendable, Equatable {
        case nothing
        /// Less than a batch: it may gather until this moment.
        case wait(until: Int64)
        case batch
    }

    /// Milliseconds from one batch to the next, unless the next one is full before.
    package static let batchDelay: Int64 = 20
    package static let batchFrames = 64
    package static let batchBytes = 128 * 1024
    /// Failed batches after which a flush waits no longer.
    package static let failureLimit = 20

    private struct Flush: Sendable {
        let waiter: Waiter
        /// Frames before the flush, those of the batch under way included.
        var ahead: Int
        /// Batches that have failed since: ends come back each time, and a flush must end.
        var failures = 0

        var isDone: Bool { ahead <= 0 || failures >= FrameQueue.failureLimit }
    }

    private let bounds: Bounds
    private var frames: [StreamFrame] = []
    /// The index of the oldest frame in `frames`.
    private var start = 0
    private var bytes = 0
    /// Messages that have lost deltas, until their end: at most as many as replies are under way.
    private var truncatedMessages: Set<Message.ID> = []
    /// Frames of the batch that is being carried.
    private var underWay = 0
    private var flushes: [Flush] = []
    private var drops = RareReport()
    /// When frames that gather are a batch.
    private var due: Int64 = 0
    private var isAway: Bool

    package private(set) var isClosed = false
    /// The ends that were published and have not been carried.
    package var pendingEnds = PendingEnds()

    /// - Parameter isAway: whether the bus is out of reach until `busReturned()`.
    package init(bounds: Bounds = Bounds(), isAway: Bool = false) {
        self.bounds = bounds
        self.isAway = isAway
    }

    private var count: Int { frames.count - start }

    package var isEmpty: Bool { count == 0 }

    /// Whether a whole batch is there.
    package var isFull: Bool { count >= Self.batchFrames || bytes >= Self.batchBytes }

    /// Whether frames must not gather any longer, because a flush waits or the queue is closed.
    package var isUrgent: Bool { count > 0 && (isClosed || !flushes.isEmpty) }

    // MARK: - Filling

    /// Takes a frame.
    /// - Returns: whether the frame was taken, and the number of frames that were dropped since the last
    ///   report when a report is due.
    package mutating func add(
        _ frame: StreamFrame, now: Int64
    ) -> (isTaken: Bool, dropped: Int?) {
        let size = frame.size
        let isTaken = admits(frame, size)
        pendingEnds.add(frame, isTaken: isTaken, now: now)
        guard isTaken else { return (false, drops.add(now: now)) }
        frames.append(frame)
        bytes += size
        return (true, nil)
    }

    /// Remembers `waiter` until everything that is in the queue now was carried or given up.
    /// - Returns: false where there is nothing to wait for, which includes a bus that is away.
    package mutating func flush(_ waiter: @escaping Waiter) -> Bool {
        let ahead = underWay + count
        if isAway || ahead == 0 { return false }
        flushes.append(Flush(waiter: waiter, ahead: ahead))
        return true
    }

    /// Takes no more frames.
    package mutating func close() {
        isClosed = true
    }

    private mutating func admits(_ frame: StreamFrame, _ size: Int) -> Bool {
        if isClosed { return false }
        if frame.isEnd {
            if count < 2 * bounds.frames { return true }
            truncatedMessages.remove(frame.messageID)
            return false
        }
        if !truncatedMessages.isEmpty, truncatedMessages.contains(frame.messageID) { return false }
        // A single frame may be larger than the bound: an empty queue takes it.
        if !isAway, count == 0 || count < bounds.frames && bytes + size <= bounds.bytes {
            return true
        }
        truncatedMessages.insert(frame.messageID)
        return false
    }

    // MARK: - Emptying

    /// What there is to carry at this moment.
    package func next(now: Int64) -> Next {
        if count == 0 { return .nothing }
        if now >= due || isFull || isUrgent { return .batch }
        return .wait(until: due)
    }

    /// Takes the oldest frames, a batch at the most. `settle` or `giveUp` follows.
    package mutating func take(now: Int64) -> [StreamFrame] {
        due = now &+ Self.batchDelay
        var taken: [StreamFrame] = []
        var size = 0
        while count > 0, taken.count < Self.batchFrames, size < Self.batchBytes {
            let frame = frames[start]
            start += 1
            size += frame.size
            taken.append(frame)
            if frame.isEnd { truncatedMessages.remove(frame.messageID) }
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

    /// Takes note that a batch was carried. The caller resumes the waiters.
    package mutating func settle(_ batch: [StreamFrame]) -> [Waiter] {
        leave(batch.count)
        pendingEnds.carried(batch)
        return takeDone()
    }

    /// Takes note that a batch was not carried, as far as is known: its ends come back to the head of
    /// the queue; its deltas are lost, and so are all other deltas of their messages.
    package mutating func giveUp(
        _ batch: [StreamFrame], now: Int64
    ) -> (waiters: [Waiter], dropped: Int?) {
        for frame in batch where !frame.isEnd { truncatedMessages.insert(frame.messageID) }
        leave(batch.count)
        let purged = purge(truncatedMessages.contains)
        for index in flushes.indices { flushes[index].failures += 1 }
        // Before the ends come back, which stand before every flush that still waits.
        let waiters = takeDone()
        let ends = batch.filter(\.isEnd)
        let isRoom = putBack(ends)
        if !isRoom { pendingEnds.dropped(ends) }
        let lost = batch.count - (isRoom ? ends.count : 0)
        return (waiters, drops.add(lost + purged, now: now))
    }

    /// Takes note that the bus is away: deltas are dropped until it returns, ends wait.
    package mutating func busWentAway(now: Int64) -> (waiters: [Waiter], dropped: Int?) {
        isAway = true
        for frame in frames[start...] where !frame.isEnd {
            truncatedMessages.insert(frame.messageID)
        }
        let purged = purge { _ in true }
        return (takeWaiters(), drops.add(purged, now: now))
    }

    package mutating func busReturned() {
        isAway = false
    }

    /// Takes all waiters, for a bus that carries nothing more.
    package mutating func takeWaiters() -> [Waiter] {
        defer { flushes = [] }
        return flushes.map(\.waiter)
    }

    /// Counts frames of a batch that is no longer under way.
    private mutating func leave(_ count: Int) {
        underWay -= count
        for index in flushes.indices { flushes[index].ahead -= count }
    }

    private mutating func takeDone() -> [Waiter] {
        let done = flushes.filter(\.isDone).map(\.waiter)
        if !done.isEmpty { flushes.removeAll(where: \.isDone) }
        return done
    }

    /// Drops the deltas of some messages; returns how many frames those were.
    private mutating func purge(_ isLost: (Message.ID) -> Bool) -> Int {
        var rest: [StreamFrame] = []
        var dropped: [Int] = []
        for (index, frame) in frames[start...].enumerated() {
            if frame.isEnd || !isLost(frame.messageID) {
                rest.append(frame)
            } else {
                dropped.append(underWay + index)
            }
        }
        for index in flushes.indices {
            let ahead = flushes[index].ahead
            flushes[index].ahead -= dropped.count { $0 < ahead }
        }
        replace(with: rest)
        return dropped.count
    }

    /// Puts ends before everything else: a flush behind them waits for them once more. False where there
    /// is no room: then they are lost.
    private mutating func putBack(_ ends: [StreamFrame]) -> Bool {
        if isClosed || ends.count + count > 2 * bounds.frames {
            for end in ends { truncatedMessages.remove(end.messageID) }
            return false
        }
        for index in flushes.indices { flushes[index].ahead += ends.count }
        replace(with: ends + frames[start...])
        return true
    }

    private mutating func replace(with rest: [StreamFrame]) {
        frames = rest
        start = 0
        bytes = frames.reduce(0) { $0 + $1.size }
    }
}
