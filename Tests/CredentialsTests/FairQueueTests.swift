internal import Testing

@testable internal import Credentials

@Suite struct FairQueueTests {
    private static func add(_ works: [String], to queue: inout FairQueue<String>) {
        for work in works {
            guard case .waits = queue.add(work, of: [work.utf8.first ?? 0]) else {
                Issue.record("\(work) does not wait")
                continue
            }
        }
    }

    /// Takes and finishes pieces of work one by one.
    private static func drain(_ queue: inout FairQueue<String>) -> [String] {
        var works: [String] = []
        while let next = queue.take() {
            works.append(next.work)
            queue.finish(next.party)
        }
        return works
    }

    @Test func `parties take turns, each in its own order`() {
        var queue = FairQueue<String>(capacity: 100)
        Self.add(["a1", "a2", "a3", "b1", "b2", "c1"], to: &queue)
        #expect(queue.count == 6)
        #expect(Self.drain(&queue) == ["c1", "a1", "b1", "b2", "a2", "a3"])
        #expect(queue.isEmpty)
    }

    @Test func `a single piece waits for the work that is under way and for no other`() {
        var queue = FairQueue<String>(capacity: 100)
        Self.add((0..<50).map { "a\($0)" } + (0..<50).map { "b\($0)" }, to: &queue)
        for _ in 0..<7 { queue.take().map { queue.finish($0.party) } }
        let running = queue.take()
        Self.add(["c1"], to: &queue)
        running.map { queue.finish($0.party) }
        #expect(queue.take()?.work == "c1")
    }

    @Test func `a single piece overtakes those of parties that came with many`() {
        var queue = FairQueue<String>(capacity: 100)
        Self.add(["a1", "a2", "a3", "b1", "b2", "b3", "c1"], to: &queue)
        #expect(queue.take()?.work == "c1")
    }

    @Test func `single pieces without end pass nobody over twice`() {
        var queue = FairQueue<String>(capacity: 100)
        Self.add((0..<10).map { "a\($0)" }, to: &queue)
        let single = (UInt8(ascii: "b")...UInt8(ascii: "z")).map { String(UnicodeScalar($0)) }
        var works: [String] = []
        for name in single {
            Self.add([name], to: &queue)
            guard let next = queue.take() else { continue }
            works.append(next.work)
            queue.finish(next.party)
        }
        let beginning = ["b", "a0", "c", "d", "a1", "e", "f", "g", "a2"]
        #expect(works.starts(with: beginning), "\(works)")
    }

    @Test func `one piece of a party is under way at a time`() {
        var queue = FairQueue<String>(capacity: 100)
        Self.add(["a1", "a2"], to: &queue)
        #expect(queue.take()?.work == "a1")
        #expect(queue.take() == nil)
        Self.add(["a3"], to: &queue)
        #expect(queue.take() == nil)
        queue.finish([UInt8(ascii: "a")])
        #expect(queue.take()?.work == "a2")
    }

    @Test func `a full queue makes room at the cost of the party that has most of it`() {
        var queue = FairQueue<String>(capacity: 4)
        Self.add(["a1", "a2", "a3", "b1"], to: &queue)
        guard case .displaces("a3") = queue.add("c1", of: [UInt8(ascii: "c")]) else {
            Issue.record("c1 takes no place")
            return
        }
        // With another the party would have the most itself.
        guard case .refused = queue.add("b2", of: [UInt8(ascii: "b")]),
            case .refused = queue.add("a4", of: [UInt8(ascii: "a")])
        else {
            Issue.record("more waits than may")
            return
        }
        guard case .displaces("a2") = queue.add("d1", of: [UInt8(ascii: "d")]) else {
            Issue.record("d1 takes no place")
            return
        }
        guard case .refused = queue.add("e1", of: [UInt8(ascii: "e")]) else {
            Issue.record("more waits than may")
            return
        }
        #expect(Self.drain(&queue) == ["a1", "b1", "c1", "d1"])
    }
}
