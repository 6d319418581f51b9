import EventLoop
import Glibc
import Synchronization
import Testing

@Suite(.timeLimit(.minutes(5))) struct ThreadPoolTests {
    private struct Refused: Error {}

    @Test("Work runs on the pool's threads and its result comes back, or its error")
    func runs() async throws {
        let pool = ThreadPool(name: "test", threads: 2, capacity: 8)
        #expect(try await pool.run { 6 * 7 } == 42)
        await #expect(throws: Refused.self) { try await pool.run { throw Refused() } }
        let isOnLoop = try await onLoop {
            try await pool.run { EventLoop.shared.executor.isCurrent }
        }
        #expect(!isOnLoop)
    }

    @Test("Once as much waits as may wait, more is refused at once, and taken again later")
    func boundsTheQueue() async throws {
        let pool = ThreadPool(name: "test", threads: 1, capacity: 2)
        let release = Semaphore()
        let (begun, beginning) = AsyncStream.makeStream(of: Void.self)
        async let running: Void = pool.run {
            beginning.finish()
            release.wait()
        }
        for await _ in begun {}
        let tasks = (0..<5).map { _ in
            Task { @EventLoop in (try? await pool.run {}) != nil }
        }
        // Behind them in the loop's queue: all five have asked, and the thread is busy.
        try await onLoop {}
        release.signal()
        var isServed: [Bool] = []
        for task in tasks { isServed.append(await task.value) }
        #expect(isServed == [true, true, false, false, false])
        try await running
        #expect(try await pool.run { 1 } == 1)
    }

    @Test("Work is taken in the order in which it came")
    func keepsTheOrder() async throws {
        let pool = ThreadPool(name: "test", threads: 1, capacity: 100)
        let order = Mutex<[Int]>([])
        try await onLoop {
            // Tasks of the loop start one after another.
            let tasks = (0..<50).map { number in
                Task { @EventLoop in try await pool.run { order.withLock { $0.append(number) } } }
            }
            for task in tasks { try await task.value }
        }
        #expect(order.withLock { $0 } == Array(0..<50))
    }

    @Test("A thread's priority is lowered for that thread alone")
    func lowersPriority() async {
        @Sendable func niceness() -> Int32 {
            getpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0)
        }
        let found = await withCheckedContinuation { continuation in
            startThread(name: "test") {
                let before = niceness()
                lowerThreadPriority(nice: 5)
                continuation.resume(returning: (before, niceness()))
            }
        }
        #expect(found.1 > found.0)
        let other = await withCheckedContinuation { continuation in
            startThread(name: "test") { continuation.resume(returning: niceness()) }
        }
        #expect(other == found.0)
    }
}
