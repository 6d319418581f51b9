import NIOCore
import Testing

@testable import Streaming

@Suite struct SubscriberQueueTests {
    private func frame(_ text: String, _ sequence: Int64, of message: String = "m1")
        -> SubscriberQueue.Item
    {
        .frame(EncodedFrame(delta(text, sequence, of: message)))
    }

    private func add(_ item: SubscriberQueue.Item, to queue: inout SubscriberQueue) -> Bool {
        queue.append(item, now: 0)
    }

    @Test("What was put in first comes out first")
    func order() {
        var queue = SubscriberQueue(.serverSentEvents)
        for number in 1...200 {
            #expect(add(.bytes(ByteBuffer(string: "\(number)")), to: &queue))
        }
        for number in 1...200 {
            let next = queue.next().map(text)
            #expect(next == "\(number)")
        }
        let none = queue.next()
        #expect(none == nil && queue.isEmpty && queue.bytes == 0)
    }

    @Test("Before anything is given up, words of one message become one frame")
    func merges() {
        var queue = SubscriberQueue(.serverSentEvents)
        var sequence: Int64 = 0
        var joined = ""
        // Of each frame's bytes most are not words.
        while sequence < 5000 {
            sequence += 1
            joined += "w\(sequence) "
            #expect(add(frame("w\(sequence) ", sequence), to: &queue))
            #expect(queue.bytes <= SubscriberQueue.byteLimit)
        }
        #expect(queue.count < 5000)
        var received = ""
        var last = ""
        while let bytes = queue.next() {
            let event = text(bytes)
            let reply = event.split(separator: "\"reply\":\"")[1].split(separator: "\"")[0]
            received += reply
            last = String(event.split(separator: "\n")[0])
        }
        #expect(received == joined)
        #expect(last == "id: e1-5000")
    }

    @Test("What cannot be merged overflows")
    func overflows() {
        var queue = SubscriberQueue(.webSocket)
        let text = String(repeating: "x", count: 60_000)
        for number: Int64 in 1...4 {
            #expect(add(frame(text, number, of: "m\(number)"), to: &queue))
        }
        #expect(!add(frame(text, 5, of: "m5"), to: &queue))
        #expect(queue.count == 4)
    }

    @Test("One frame larger than all may wait has a place when nothing waits")
    func largeFrame() {
        var queue = SubscriberQueue(.serverSentEvents)
        #expect(add(frame(String(repeating: "x", count: 400_000), 1), to: &queue))
        #expect(!add(frame("y", 2, of: "m2"), to: &queue))
    }

    @Test("What waits for more than ten seconds is stale")
    func age() {
        var queue = SubscriberQueue(.serverSentEvents)
        #expect(!queue.isStale(now: 1_000_000))
        _ = queue.append(frame("a", 1), now: 1000)
        #expect(!queue.isStale(now: 11_000))
        #expect(queue.isStale(now: 11_001))
    }
}
