import EventLoop
import Synchronization
import Testing

/// Runs `body` on the loop, which lives as long as the test process.
func onLoop<T: Sendable>(_ body: @escaping @EventLoop () async throws -> T) async throws -> T {
    EventLoop.startOnOwnThread()
    return try await Task { @EventLoop in try await body() }.value
}

@Suite(.timeLimit(.minutes(5))) struct LoopTests {
    @Test("A task of the loop stays on its thread across every suspension")
    func staysOnTheLoop() async throws {
        try await onLoop {
            let executor = EventLoop.shared.executor
            #expect(executor.isCurrent)
            await EventLoop.sleep(milliseconds: 1)
            #expect(executor.isCurrent)
            await Task.yield()
            #expect(executor.isCurrent)
            // A hop to another executor and back.
            let wasCurrent = await Task.detached { executor.isCurrent }.value
            #expect(!wasCurrent)
            #expect(executor.isCurrent)
            await nonisolatedWork()
            #expect(executor.isCurrent)
        }
        #expect(!EventLoop.shared.executor.isCurrent)
    }

    @concurrent private static func isCurrent() async -> Bool {
        EventLoop.shared.executor.isCurrent
    }

    @Test("A spawned task and what it calls prefer the loop, isolated or not")
    func prefersTheLoop() async throws {
        EventLoop.startOnOwnThread()
        let answers = Mutex<[Bool]>([])
        await EventLoop.spawn {
            let inside = await Self.isCurrent()
            async let child = Self.isCurrent()
            let all = [inside, await child, EventLoop.shared.executor.isCurrent]
            answers.withLock { $0 = all }
        }.value
        #expect(answers.withLock { $0 } == [true, true, true])
    }

    @Test("Jobs that many threads add at once are all run")
    func takesJobsFromOtherThreads() async throws {
        EventLoop.startOnOwnThread()
        let sum = await withTaskGroup(of: Int.self) { group in
            for number in 1...2000 {
                group.addTask { await Task { @EventLoop in number }.value }
            }
            return await group.reduce(0, +)
        }
        #expect(sum == 2000 * 2001 / 2)
    }

    @Test("An observer gets the length of a turn that holds the loop")
    func observesTurns() async throws {
        try await onLoop {
            let clock = ContinuousClock()
            var turns: [Int64] = []
            EventLoop.observeTurns { turns.append($0) }
            await EventLoop.nextTurn()
            let begin = clock.now
            while clock.now - begin < .milliseconds(20) {}
            await EventLoop.nextTurn()
            await EventLoop.nextTurn()
            EventLoop.observeTurns { _ in }
            #expect(turns.contains { $0 >= 20_000 })
            #expect(turns.allSatisfy { $0 >= 0 })
        }
    }

    @Test("What is due at the end of a turn is done before the next, whenever that was asked for")
    func nextTurn() async throws {
        try await onLoop {
            var done: [Int] = []
            await EventLoop.nextTurn()
            EventLoop.atEndOfTurn { done.append(1) }
            EventLoop.spawn { EventLoop.atEndOfTurn { done.append(2) } }
            await EventLoop.nextTurn()
            #expect(done == [1, 2])
        }
    }

    @Test("Jobs that beget jobs do not starve the timers")
    func sharesTheTurn() async throws {
        try await onLoop {
            var isOver = false
            EventLoop.schedule(afterMilliseconds: 2) { isOver = true }
            var rounds = 0
            while !isOver {
                rounds += 1
                await Task { @EventLoop in }.value
            }
            #expect(rounds > 0)
        }
    }

    @Test("Starting the loop a second time changes nothing")
    func startsOnce() async throws {
        EventLoop.startOnOwnThread()
        EventLoop.startOnOwnThread()
        let thread = try await onLoop { EventLoop.shared.executor.isCurrent }
        #expect(thread)
    }

    @Test("C's callbacks on the loop's thread run as its own code")
    func assumesIsolation() async throws {
        let answer = try await onLoop {
            func callback() -> Int { EventLoop.assumeIsolated { Counter.next() } }
            return callback()
        }
        #expect(answer == 1)
    }

    @Test("A failed call is told by its name and reason")
    func describesErrors() {
        #expect(SystemError("open", code: 2).description == "open: No such file or directory")
    }
}

private func nonisolatedWork() async {}

@EventLoop private enum Counter {
    private static var count = 0
    static func next() -> Int {
        count += 1
        return count
    }
}
