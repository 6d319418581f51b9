import Testing

@testable import ProxyGPT

@Suite struct PendingEndsTests {
    private func frame(_ id: String, _ content: StreamFrame.Content = .ended) -> StreamFrame {
        StreamFrame(
            chatID: Chat.ID("chat"), messageID: Message.ID(id), userID: User.ID("user"), content)
    }

    @Test func `an end that waits for too long is taken once, and is pending until it is carried`()
    {
        var ends = PendingEnds()
        ends.add(frame("words", .delta("a", prompt: nil)), isTaken: true, now: 0)
        ends.add(frame("a"), isTaken: true, now: 0)
        ends.add(frame("b"), isTaken: true, now: 400)
        ends.add(frame("c"), isTaken: true, now: 0)
        ends.carried([frame("c")])
        #expect(ends.takeOverdue(after: 500, now: 499) == [])
        #expect(ends.takeOverdue(after: 500, now: 500) == [Message.ID("a")])
        #expect(ends.takeOverdue(after: 500, now: 800) == [])
        #expect(ends.contains(Message.ID("a")) && ends.contains(Message.ID("b")))
        ends.carried([frame("a")])
        #expect(!ends.contains(Message.ID("a")))
        #expect(ends.takeOverdue(after: 500, now: 900) == [Message.ID("b")])
    }

    @Test func `an end that the bus drops is overdue at once, and is removed when it is taken`() {
        var ends = PendingEnds()
        ends.add(frame("full"), isTaken: false, now: 0)
        ends.add(frame("lost"), isTaken: true, now: 0)
        ends.dropped([frame("lost")])
        let taken = ends.takeOverdue(after: 500, now: 0)
        #expect(Set(taken) == [Message.ID("full"), Message.ID("lost")])
        #expect(!ends.contains(Message.ID("full")))
        // The store did not take it either: it is for the next try.
        ends.putBack(taken, now: 1)
        #expect(Set(ends.takeOverdue(after: 500, now: 1)) == Set(taken))
    }

    @Test func `an end that could not be noted is overdue again`() {
        var ends = PendingEnds()
        ends.add(frame("a"), isTaken: true, now: 0)
        ends.putBack(ends.takeOverdue(after: 0, now: 0), now: 1)
        #expect(ends.takeOverdue(after: 0, now: 1) == [Message.ID("a")])
    }
}
