import EventLoop
import Testing

@Suite(.timeLimit(.minutes(5))) struct TimerTests {
    @Test("Timers fire in the order of their deadlines, whenever they were set")
    func firesInOrder() async throws {
        try await onLoop {
            var fired: [Int64] = []
            let delays: [Int64] = [600, 200, 400, 100, 500, 300, 20, 800, 700]
            // Their deadlines lie in this order unless setting them takes a tenth of a second.
            var isQuick = false
            while !isQuick {
                fired = []
                let start = monotonicMilliseconds()
                await withUnsafeContinuation { continuation in
                    for delay in delays {
                        EventLoop.schedule(afterMilliseconds: delay) {
                            fired.append(delay)
                            if fired.count == delays.count { continuation.resume() }
                        }
                    }
                    isQuick = monotonicMilliseconds() - start < 80
                }
            }
            #expect(fired == delays.sorted())
        }
    }

    @Test("No timer fires too early")
    func waitsLongEnough() async throws {
        try await onLoop {
            for delay in [0, 1, 7] as [Int64] {
                let start = monotonicMilliseconds()
                await EventLoop.sleep(milliseconds: delay)
                #expect(monotonicMilliseconds() - start >= delay)
            }
        }
    }

    @Test("A cancelled timer never fires, nor does one cancelled by the timer before it")
    func cancels() async throws {
        try await onLoop {
            var fired: [String] = []
            let early = EventLoop.schedule(afterMilliseconds: 1) { fired.append("early") }
            early.cancel()
            var second: Timer?
            EventLoop.schedule(afterMilliseconds: 2) { second?.cancel() }
            second = EventLoop.schedule(afterMilliseconds: 3) { fired.append("second") }
            await EventLoop.sleep(milliseconds: 6)
            early.cancel()
            #expect(fired == [])
        }
    }

    @Test("Thousands of timers, most of them cancelled, leave the others as they were")
    func keepsOrderAmongCancelled() async throws {
        try await onLoop {
            var fired: [Int64] = []
            var seed: UInt64 = 42
            var expected: [Int64] = []
            for _ in 0..<5000 {
                seed = seed &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
                let delay = Int64(seed >> 59)
                let timer = EventLoop.schedule(afterMilliseconds: delay) { fired.append(delay) }
                if seed >> 32 & 7 == 0 { expected.append(delay) } else { timer.cancel() }
            }
            await EventLoop.sleep(milliseconds: 60)
            #expect(fired.count == expected.count)
            #expect(fired.sorted() == expected.sorted())
        }
    }

    @Test("A timer may set the next one from within")
    func nests() async throws {
        try await onLoop {
            let chain = Chain()
            await withUnsafeContinuation { chain.start(length: 20, end: $0) }
            #expect(chain.count == 20)
        }
    }

    @Test("Sleep ends early when its task is cancelled, before or during it")
    func sleepIsCancelled() async throws {
        try await onLoop {
            var awake = 0
            let sleeper = EventLoop.spawn {
                await EventLoop.sleep(milliseconds: 3_600_000)
                awake += 1
            }
            await EventLoop.sleep(milliseconds: 2)
            #expect(awake == 0)
            sleeper.cancel()
            EventLoop.spawn {
                withUnsafeCurrentTask { $0?.cancel() }
                await EventLoop.sleep(milliseconds: 3_600_000)
                awake += 1
            }
            // A few turns of the loop, however long they take.
            for _ in 0..<10 { await EventLoop.nextTurn() }
            #expect(awake == 2)
        }
    }
}

@EventLoop private final class Chain {
    private(set) var count = 0
    private var length = 0
    private var end: UnsafeContinuation<Void, Never>?

    func start(length: Int, end: UnsafeContinuation<Void, Never>) {
        self.length = length
        self.end = end
        next()
    }

    private func next() {
        count += 1
        if count == length {
            end?.resume()
        } else {
            EventLoop.schedule(afterMilliseconds: 0) { self.next() }
        }
    }
}
