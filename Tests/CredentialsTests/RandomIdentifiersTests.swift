import Credentials
import ProxyGPT
import Synchronization
import Testing

/// Tells the times it was given, the last one again and again.
private final class ScriptedClock: Clock {
    private let times: Mutex<[Int64]>

    init(_ times: [Int64]) {
        self.times = Mutex(times)
    }

    func now() -> Timestamp {
        times.withLock { times in
            Timestamp(milliseconds: times.count > 1 ? times.removeFirst() : times.first ?? 0)
        }
    }

    func monotonicMicroseconds() -> Int64 { 0 }
}

@Suite struct RandomIdentifiersTests {
    @Test("Ids are UUIDs of version 7 with today's time in front")
    func makesUUIDs() {
        let time: Int64 = 0x017F_22E2_79B0
        let id = RandomIdentifiers(clock: ScriptedClock([time])).next()
        #expect(UUIDText.isShaped(id))
        #expect(id.hasPrefix("017f22e2-79b0-7"))
        #expect(id == id.lowercased())
    }

    @Test("Ten thousand ids of one millisecond are in order and all different")
    func ordersWithinAMillisecond() {
        let source = RandomIdentifiers(clock: ScriptedClock([1000]))
        let ids = (0..<10_000).map { _ in source.next() }
        #expect(ids == ids.sorted())
        #expect(Set(ids).count == ids.count)
    }

    @Test("Ids stay in order when the clock is set back")
    func ordersAcrossAClockSetBack() {
        let times: [Int64] = [5000, 5001, 4000, 4001, 1, 5001, 5002, 9000, 0]
        let source = RandomIdentifiers(clock: ScriptedClock(times))
        let ids = (0..<times.count + 100).map { _ in source.next() }
        #expect(ids == ids.sorted())
        #expect(Set(ids).count == ids.count)
    }

    @Test("Ids of several threads are all different, and each thread's own are in order")
    func ordersAcrossThreads() async {
        let source = RandomIdentifiers(clock: SystemClock())
        let all = await withTaskGroup(of: [String].self) { group in
            for _ in 0..<4 {
                group.addTask { (0..<5000).map { _ in source.next() } }
            }
            return await group.reduce(into: [[String]]()) { $0.append($1) }
        }
        for ids in all { #expect(ids == ids.sorted()) }
        #expect(Set(all.joined()).count == 20_000)
    }

    @Test("The system's clock tells the time of day, and durations only grow")
    func tellsTime() {
        let clock = SystemClock()
        // 2025 to 2100.
        #expect((1_735_689_600_000...4_102_444_800_000).contains(clock.now().milliseconds))
        let first = clock.monotonicMicroseconds()
        #expect(clock.monotonicMicroseconds() >= first)
    }
}
