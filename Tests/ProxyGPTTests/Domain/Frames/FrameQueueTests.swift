import Synchronization
import TestSupport
import Testing

@testable import ProxyGPT

/// Counts how often the waiter of one flush was resumed.
private final class Flush: Sendable {
    private let count = Mutex(0)

    /// - Parameter waits: whether the queue has to remember the flush.
    init(_ queue: inout FrameQueue, waits: Bool = true) {
        #expect(queue.flush { self.count.withLock { $0 += 1 } } == waits)
    }

    var isResumed: Bool { count.withLock { $0 == 1 } }
}

/// A flush waits for what was published before, and for nothing else.
@Suite struct FrameQueueFlushTests {
    private func giveUp(_ queue: inout FrameQueue, _ batch: [StreamFrame]) -> Int? {
        let (waiters, dropped) = queue.giveUp(batch, now: 0)
        for waiter in waiters { waiter() }
        return dropped
    }

    private func settle(_ queue: inout FrameQueue, _ batch: [StreamFrame]) {
        for waiter in queue.settle(batch) { waiter() }
    }

    @Test func `ends that come back do not count as the frames behind them`() {
        var queue = FrameQueue()
        for index in 0..<FrameQueue.batchFrames { _ = queue.add(end(of: "m\(index)"), now: 0) }
        let ends = queue.take(now: 0)
        _ = queue.add(beginning(of: "last"), now: 0)
        let flush = Flush(&queue)
        _ = giveUp(&queue, ends)
        #expect(queue.take(now: 0) == ends)
        settle(&queue, ends)
        #expect(!flush.isResumed)
        // Less than a batch is one while a flush waits.
        #expect(queue.next(now: 0) == .batch)
        let last = queue.take(now: 0)
        #expect(last == [beginning(of: "last")])
        settle(&queue, last)
        #expect(flush.isResumed)
    }

    @Test func `ends that find no room when they come back count once`() {
        var queue = FrameQueue(bounds: FrameQueue.Bounds(frames: 2))
        let ends = (0..<5).map { end(of: "m\($0)") }
        for end in ends[..<3] { _ = queue.add(end, now: 0) }
        let batch = queue.take(now: 0)
        for end in ends[3...] { _ = queue.add(end, now: 0) }
        let flush = Flush(&queue)
        #expect(giveUp(&queue, batch) == 3)
        #expect(queue.next(now: 0) == .batch)
        let rest = queue.take(now: 0)
        #expect(rest == Array(ends[3...]))
        #expect(!flush.isResumed)
        settle(&queue, rest)
        #expect(flush.isResumed)
    }

    @Test func `deltas that are dropped behind a flush do not count for what is before it`() {
        var queue = FrameQueue()
        _ = queue.add(delta("1", of: "a"), now: 0)
        let batch = queue.take(now: 0)
        _ = queue.add(end(of: "b"), now: 0)
        let flush = Flush(&queue)
        for index in 0..<5 { _ = queue.add(delta("\(index)", of: "a"), now: 0) }
        _ = giveUp(&queue, batch)
        #expect(queue.next(now: 0) == .batch)
        let rest = queue.take(now: 0)
        #expect(rest == [end(of: "b")])
        #expect(!flush.isResumed)
        settle(&queue, rest)
        #expect(flush.isResumed)
    }

    @Test func `a flush behind ends that always come back is over after some failures`() {
        var queue = FrameQueue()
        for index in 0..<FrameQueue.batchFrames { _ = queue.add(end(of: "m\(index)"), now: 0) }
        _ = queue.add(beginning(of: "last"), now: 0)
        let flush = Flush(&queue)
        for _ in 1..<FrameQueue.failureLimit { _ = giveUp(&queue, queue.take(now: 0)) }
        #expect(!flush.isResumed)
        _ = giveUp(&queue, queue.take(now: 0))
        #expect(flush.isResumed)
    }

    @Test func `ends alone are tried once, and deltas that fail are gone`() {
        var queue = FrameQueue()
        for frame in [beginning(of: "a"), delta("1", of: "a"), end(of: "a")] {
            _ = queue.add(frame, now: 0)
        }
        let flush = Flush(&queue)
        #expect(giveUp(&queue, queue.take(now: 0)) == 2)
        #expect(flush.isResumed)
        #expect(queue.take(now: 0) == [end(of: "a")])
    }

    @Test func `there is nothing to wait for in an empty queue and behind a bus that is away`() {
        var queue = FrameQueue()
        #expect(!Flush(&queue, waits: false).isResumed)
        _ = queue.add(end(of: "a"), now: 0)
        let flush = Flush(&queue)
        for waiter in queue.busWentAway(now: 0).waiters { waiter() }
        #expect(flush.isResumed)
        #expect(!Flush(&queue, waits: false).isResumed)
        queue.busReturned()
        _ = Flush(&queue)
        for waiter in queue.takeWaiters() { waiter() }
        #expect(queue.takeWaiters().isEmpty)
    }
}

@Suite struct FrameQueueTests {
    @Test func `the first frame leaves at once, later ones gather for 20 milliseconds`() {
        var queue = FrameQueue()
        #expect(queue.next(now: 100) == .nothing)
        _ = queue.add(delta("1", of: "a"), now: 100)
        #expect(queue.next(now: 100) == .batch)
        #expect(queue.take(now: 100) == [delta("1", of: "a")])
        #expect(queue.next(now: 101) == .nothing)
        _ = queue.add(delta("2", of: "a"), now: 101)
        _ = queue.add(delta("3", of: "a"), now: 102)
        #expect(queue.next(now: 119) == .wait(until: 120))
        #expect(queue.next(now: 120) == .batch)
        #expect(queue.take(now: 120) == [delta("2", of: "a"), delta("3", of: "a")])
        #expect(queue.isEmpty)
        _ = queue.add(delta("4", of: "a"), now: 130)
        #expect(queue.next(now: 130) == .wait(until: 140))
        queue.close()
        #expect(queue.next(now: 130) == .batch)
    }

    @Test func `a batch is full with 64 frames or 128 KiB`() {
        var queue = FrameQueue()
        _ = queue.take(now: 0)
        for index in 0..<63 { _ = queue.add(delta("\(index)", of: "a"), now: 0) }
        #expect(!queue.isFull)
        #expect(queue.next(now: 0) == .wait(until: 20))
        for index in 63..<66 { _ = queue.add(delta("\(index)", of: "a"), now: 0) }
        #expect(queue.next(now: 0) == .batch)
        #expect(queue.take(now: 0).count == 64)
        #expect(queue.next(now: 0) == .wait(until: 20))
        #expect(queue.take(now: 0) == [delta("64", of: "a"), delta("65", of: "a")])

        let large = String(repeating: "w", count: 50_000)
        for _ in 0..<4 { _ = queue.add(delta(large, of: "a"), now: 0) }
        #expect(queue.next(now: 0) == .batch)
        #expect(queue.take(now: 0).count == 3)
        #expect(queue.take(now: 0).count == 1)
    }

    @Test func `a full queue drops deltas, the rest of their message with them, and no end`() {
        var queue = FrameQueue(bounds: FrameQueue.Bounds(frames: 2))
        #expect(queue.add(delta("1", of: "a"), now: 0).isTaken)
        #expect(queue.add(delta("2", of: "a"), now: 0).isTaken)
        #expect(queue.add(delta("3", of: "a"), now: 0) == (false, 1))
        #expect(queue.take(now: 0).count == 2)
        // There is room again, but the reply would have a hole.
        #expect(!queue.add(delta("4", of: "a"), now: 0).isTaken)
        for index in 0..<4 { #expect(queue.add(end(of: "e\(index)"), now: 0).isTaken) }
        #expect(!queue.add(delta("1", of: "b"), now: 0).isTaken)
        #expect(!queue.add(end(of: "a"), now: 0).isTaken)
        #expect(queue.take(now: 0).count == 4)
        // What was known of the messages went with their ends.
        #expect(queue.add(delta("5", of: "a"), now: 0).isTaken)
        #expect(!queue.add(delta("2", of: "b"), now: 0).isTaken)
    }

    @Test func `the bound in bytes does not keep a single large frame out`() {
        var queue = FrameQueue(bounds: FrameQueue.Bounds(bytes: 1000))
        let large = String(repeating: "w", count: 2000)
        #expect(queue.add(delta(large, of: "a"), now: 0).isTaken)
        #expect(!queue.add(delta("1", of: "b"), now: 0).isTaken)
        #expect(queue.add(end(of: "a"), now: 0).isTaken)
    }

    @Test func `a batch that fails loses its deltas and those behind them, and keeps its ends`() {
        var queue = FrameQueue()
        let batch = [delta("1", of: "a"), delta("1", of: "b"), end(of: "b")]
        for frame in batch { _ = queue.add(frame, now: 0) }
        #expect(queue.take(now: 0) == batch)
        for frame in [delta("2", of: "a"), delta("1", of: "c"), end(of: "a")] {
            _ = queue.add(frame, now: 0)
        }
        let (waiters, dropped) = queue.giveUp(batch, now: 0)
        #expect(waiters.isEmpty && dropped == 3)
        #expect(queue.take(now: 0) == [end(of: "b"), delta("1", of: "c"), end(of: "a")])
        #expect(queue.pendingEnds.contains(Message.ID("a")))
    }

    @Test func `while the bus is away deltas are dropped and ends wait`() {
        var queue = FrameQueue(isAway: true)
        #expect(!queue.add(delta("1", of: "a"), now: 0).isTaken)
        queue.busReturned()
        #expect(!queue.add(delta("2", of: "a"), now: 0).isTaken)
        #expect(queue.add(delta("1", of: "b"), now: 0).isTaken)
        #expect(queue.add(end(of: "a"), now: 0).isTaken)
        #expect(queue.busWentAway(now: 1000).dropped == 2)
        #expect(queue.take(now: 0) == [end(of: "a")])
    }

    @Test func `ends that are dropped or wait for too long are overdue`() {
        var queue = FrameQueue(bounds: FrameQueue.Bounds(frames: 1))
        for message in ["a", "b", "c"] { _ = queue.add(end(of: message), now: 0) }
        #expect(queue.pendingEnds.takeOverdue(after: 500, now: 0) == [Message.ID("c")])
        let batch = queue.take(now: 0)
        _ = queue.settle([batch[0]])
        #expect(queue.pendingEnds.takeOverdue(after: 500, now: 500) == [Message.ID("b")])
        queue.pendingEnds.putBack([Message.ID("b")], now: 500)
        #expect(queue.pendingEnds.takeOverdue(after: 500, now: 500) == [Message.ID("b")])
    }

    @Test func `an end of a closed queue that fails is dropped`() {
        var queue = FrameQueue()
        _ = queue.add(end(of: "a"), now: 0)
        queue.close()
        #expect(queue.giveUp(queue.take(now: 0), now: 0).dropped == 1)
        #expect(queue.isEmpty && queue.next(now: 0) == .nothing)
        #expect(!queue.add(end(of: "b"), now: 0).isTaken)
    }

    @Test func `drops are reported once a second with their number`() {
        var queue = FrameQueue(isAway: true)
        #expect(queue.add(delta("1", of: "a"), now: 5000).dropped == 1)
        #expect(queue.add(delta("2", of: "a"), now: 5001).dropped == nil)
        #expect(queue.add(delta("3", of: "a"), now: 5999).dropped == nil)
        #expect(queue.add(delta("4", of: "a"), now: 6000).dropped == 3)
        queue.busReturned()
        #expect(queue.busWentAway(now: 9000).dropped == nil)
    }

    @Test func `deltas of one message within a batch become one frame`() {
        let batch = [
            delta("", of: "a", prompt: "p"), delta("1", of: "b", prompt: "q"), delta("2", of: "a"),
            delta("3", of: "b"), end(of: "a"), delta("4", of: "b"), end(of: "b"),
        ]
        #expect(
            StreamFrame.merge(batch) == [
                delta("2", of: "a", prompt: "p"), delta("134", of: "b", prompt: "q"), end(of: "a"),
                end(of: "b"),
            ])
    }
}
