internal import ProxyGPT
internal import Synchronization
internal import TestSupport
internal import Testing

@testable internal import RedisStorage

/// Whoever flushes waits for what was published before, and for nothing else.
@Suite struct FrameQueueTests {
    private func queue(frames: Int = 1000) -> FrameQueue {
        let queue = FrameQueue(bounds: FrameQueue.Bounds(frames: frames, bytes: 1 << 20))
        queue.recover()
        return queue
    }

    private func take(_ queue: FrameQueue, mayGather: Bool = false) -> [StreamFrame] {
        if case .group(let group) = queue.next(mayGather: mayGather) { group } else { [] }
    }

    /// Begins a flush; the task ends with it.
    private func flush(_ queue: FrameQueue) async throws -> Task<Void, Never> {
        let (begun, continuation) = AsyncStream.makeStream(of: Void.self)
        let task = Task {
            await withUnsafeContinuation {
                queue.flush($0)
                continuation.finish()
            }
        }
        for await _ in begun {}
        return task
    }

    @Test func `ends that come back do not count as the frames behind them`() async throws {
        let queue = queue()
        for index in 0..<FrameQueue.groupFrames { _ = queue.add(end(of: "m\(index)")) }
        let ends = take(queue)
        _ = queue.add(beginning(of: "last"))
        let flush = try await flush(queue)
        _ = queue.giveUp(ends)
        #expect(take(queue) == ends)
        queue.settle(ends)
        // Less than a group is one while somebody flushes.
        let last = take(queue, mayGather: true)
        #expect(last == [beginning(of: "last")])
        queue.settle(last)
        await flush.value
    }

    @Test func `ends that find no room when they come back count once`() async throws {
        let queue = queue(frames: 2)
        let ends = (0..<5).map { end(of: "m\($0)") }
        for end in ends[..<3] { _ = queue.add(end) }
        let group = take(queue)
        for end in ends[3...] { _ = queue.add(end) }
        let flush = try await flush(queue)
        #expect(queue.giveUp(group) == 3)
        let rest = take(queue, mayGather: true)
        #expect(rest == Array(ends[3...]))
        queue.settle(rest)
        await flush.value
    }

    @Test func `words that are dropped behind who flushes do not count for what is before`()
        async throws
    {
        let queue = queue()
        _ = queue.add(words("1", of: "a"))
        let group = take(queue)
        _ = queue.add(end(of: "b"))
        let flush = try await flush(queue)
        for index in 0..<5 { _ = queue.add(words("\(index)", of: "a")) }
        _ = queue.giveUp(group)
        let rest = take(queue, mayGather: true)
        #expect(rest == [end(of: "b")])
        queue.settle(rest)
        await flush.value
    }

    @Test func `nobody waits for ever behind ends that always come back`() async throws {
        let queue = queue()
        for index in 0..<FrameQueue.groupFrames { _ = queue.add(end(of: "m\(index)")) }
        _ = queue.add(beginning(of: "last"))
        let flush = try await flush(queue)
        for _ in 0..<FrameQueue.failureLimit { _ = queue.giveUp(take(queue)) }
        await flush.value
    }

    @Test func `ends alone are tried once, and words that fail are gone`() async throws {
        let queue = queue()
        for frame in [beginning(of: "a"), words("1", of: "a"), end(of: "a")] {
            _ = queue.add(frame)
        }
        let flush = try await flush(queue)
        #expect(queue.giveUp(take(queue)) == 2)
        await flush.value
        #expect(take(queue) == [end(of: "a")])
    }
}
