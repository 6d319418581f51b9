internal import EventLoop
internal import func Glibc.getpriority
internal import struct Glibc.__priority_which_t
internal import let Glibc.PRIO_PROCESS
internal import Synchronization
internal import TestSupport
internal import Testing

@testable internal import Credentials

/// Queues work that notes when it begins, and what came of it.
private final class Bench: Sendable {
    private struct State {
        var begun: [String] = []
        var refused: [String] = []
    }

    private let queue: HashQueue
    private let state = Mutex(State())

    init(changeDelay: Int64) {
        queue = HashQueue(loginCapacity: 8, changeCapacity: 2, changeDelay: changeDelay)
    }

    var begun: [String] { state.withLock { $0.begun } }
    var refused: [String] { state.withLock { $0.refused } }

    /// The party of the work is its name's first letter.
    func add(_ name: String, isLogin: Bool = true, until release: Semaphore? = nil) {
        let work = HashQueue.Work(
            run: { [self] in
                state.withLock { $0.begun.append(name) }
                release?.wait()
            },
            refuse: { [self] in state.withLock { $0.refused.append(name) } })
        queue.add(work, isLogin: isLogin, of: Array(name.utf8.prefix(1)))
    }
}

@Suite(.timeLimit(.minutes(5))) struct HashQueueTests {
    @Test(arguments: [(true, 5), (false, 10)])
    func `hashes give way to requests, those for changes to log-ins, and none starves`(
        isLogin: Bool, nice: Int32
    ) async throws {
        let queue = HashQueue(loginCapacity: 8, changeCapacity: 2)
        let own = getpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0)
        let seen = try await queue.run(isLogin: isLogin, of: []) {
            // On Linux the priority is that of the calling thread.
            getpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0)
        }
        #expect(seen == own + nice)
    }

    @Test func `another's log-in comes before what else waits of an address, and finds a place`()
        async throws
    {
        let bench = Bench(changeDelay: 1_000_000)
        let release = Semaphore()
        bench.add("a0", until: release)
        try await eventually { bench.begun == ["a0"] }
        for number in 1...10 { bench.add("a\(number)") }
        #expect(bench.refused == ["a9", "a10"])
        bench.add("b")
        #expect(bench.refused == ["a9", "a10", "a8"])
        release.signal()
        try await eventually { bench.begun.count == 9 }
        #expect(bench.begun == ["a0", "b", "a1", "a2", "a3", "a4", "a5", "a6", "a7"])
    }

    @Test func `a change begins when no log-in is left`() async throws {
        let bench = Bench(changeDelay: 1_000_000)
        let release = Semaphore()
        bench.add("a", until: release)
        try await eventually { bench.begun == ["a"] }
        bench.add("u1", isLogin: false)
        bench.add("b")
        bench.add("u2", isLogin: false)
        bench.add("c")
        release.signal()
        try await eventually { bench.begun.count == 5 }
        #expect(bench.begun == ["a", "b", "c", "u1", "u2"])
    }

    @Test func `a log-in waits for no change`() async throws {
        let bench = Bench(changeDelay: 1_000_000)
        let release = Semaphore()
        bench.add("u1", isLogin: false, until: release)
        try await eventually { bench.begun == ["u1"] }
        for name in ["u2", "u3", "u4", "v"] { bench.add(name, isLogin: false) }
        #expect(bench.refused == ["u4", "u3"])
        bench.add("a")
        try await eventually { bench.begun == ["u1", "a"] }
        release.signal()
        try await eventually { bench.begun.count == 4 }
        #expect(bench.begun == ["u1", "a", "v", "u2"])
    }

    @Test func `a change that was put off for long enough begins beside log-ins`() async throws {
        let bench = Bench(changeDelay: 5)
        let (first, second) = (Semaphore(), Semaphore())
        bench.add("a", until: first)
        bench.add("b", until: second)
        bench.add("u", isLogin: false)
        let now = monotonicMilliseconds()
        try await eventually { monotonicMilliseconds() > now + 5 }
        // The next log-in follows at once, and the change with it.
        first.signal()
        try await eventually { bench.begun.count == 3 }
        second.signal()
    }
}
