internal import EventLoop
internal import Glibc
internal import ProxyGPT
internal import TestSupport
internal import Testing

@testable internal import SQLStorage

/// Old frames are trimmed, and no history has a hole.
@Suite struct BusTrimmingTests {
    private let chat = Chat.ID("chat")
    private let clock = TestClock()

    /// A writer that looks for old frames every 20 ms.
    private func bus(_ place: BusPlace) throws -> SQLiteBus {
        var tuning = BusWriter.Tuning()
        tuning.sweeping = 20
        return try place.bus(clock: clock, tuning: tuning)
    }

    private func frames(_ place: BusPlace) throws -> Int64 {
        try place.number("SELECT COUNT(*) AS number FROM frames")
    }

    @Test func `frames go ten minutes after their message's end, however many they are`()
        async throws
    {
        let place = try BusPlace()
        let bus = try bus(place)
        let log = try place.log()
        for index in 0..<1200 {
            bus.publish(delta("\(index) ", of: "long"))
            if index % 60 == 0 { await bus.flush() }
        }
        bus.publishReply("short", words: 3)
        bus.publish(delta("still running", of: "running"))
        bus.publish(end(of: "long"))
        await bus.flush()
        let before = try frames(place)
        clock.advance(seconds: 599)
        bus.publish(end(of: "later"))
        await bus.flush()
        #expect(try frames(place) == before + 1)

        clock.advance(seconds: 2)
        try await eventually { try self.frames(place) == 2 }
        let running = try await log.runningFrames(of: chat)
        #expect(running.frames.map(\.frame) == [delta("still running", of: "running")])
        #expect(try place.number("SELECT COUNT(*) AS number FROM messages") == 2)
        await bus.close()
    }

    @Test func `ids are not used again when all frames are gone`() async throws {
        let place = try BusPlace()
        let bus = try bus(place)
        bus.publishReply("m", words: 1)
        await bus.flush()
        let log = try place.log()
        let head = try await log.head()
        clock.advance(seconds: 601)
        try await eventually { try self.frames(place) == 0 }
        #expect(try await log.head() == head)
        bus.publish(end(of: "n"))
        await bus.flush()
        #expect(try await log.head().sequence == head.sequence + 1)
        await bus.close()
    }

    @Test func `history is refused where frames of that chat are gone, and only there`()
        async throws
    {
        let place = try BusPlace()
        let bus = try bus(place)
        let log = try place.log()
        bus.publish(delta("quiet", of: "q", in: "quiet"))
        await bus.flush()
        let quiet = try await log.head()
        bus.publish(delta("one", of: "m"))
        await bus.flush()
        let middle = try await log.head()
        bus.publish(end(of: "m"))
        await bus.flush()
        let end = try await log.head()
        clock.advance(seconds: 601)
        try await eventually { try self.frames(place) == 1 }
        #expect(try await log.frames(of: chat, after: middle) == nil)
        #expect(try await log.frames(of: chat, after: end) == [])
        #expect(try await log.frames(of: Chat.ID("quiet"), after: quiet) == [])

        // A day later the chats of the frames are forgotten.
        clock.advance(seconds: 86_400)
        try await eventually { try place.number("SELECT floor AS number FROM log") > 0 }
        #expect(try await log.frames(of: Chat.ID("quiet"), after: quiet) == nil)
        #expect(try await log.frames(of: chat, after: log.head()) == [])
        await bus.close()
    }

    @Test
    func `a message without an end stays while deltas come and is removed an hour after the last`()
        async throws
    {
        let place = try BusPlace()
        let bus = try bus(place)
        bus.publish(delta("one", of: "slow"))
        bus.publish(delta("one", of: "dead"))
        await bus.flush()
        clock.advance(seconds: 3500)
        bus.publish(delta("two", of: "slow"))
        await bus.flush()
        clock.advance(seconds: 200)
        try await eventually { try self.frames(place) == 2 }
        let running = try await place.log().runningFrames(of: chat)
        #expect(joinedDeltas(running.frames, of: "slow") == "onetwo")
        await bus.close()
    }

    @Test func `a log that slept through a trimming resets its subscribers`() async throws {
        // In a process of its own: all tests of this one share its loop.
        await #expect(processExitsWith: .success) {
            try await BusTrimmingTests().sleepThroughATrimming()
        }
    }

    private func sleepThroughATrimming() async throws {
        _ = Loop.started
        let place = try BusPlace()
        let bus = try bus(place)
        let log = try place.log()
        let delivery = try await Delivery(log)
        bus.publish(end(of: "seen"))
        try await delivery.ends(["seen"])
        // The loop's thread stands, as in a process that was stopped.
        let asleep = Semaphore()
        let morning = Semaphore()
        EventLoop.spawn {
            asleep.signal()
            morning.wait()
        }
        asleep.wait()
        defer { morning.signal() }
        bus.publish(delta("missed", of: "m"))
        bus.publish(end(of: "m"))
        for _ in 0..<3000 where try frames(place) < 3 { usleep(5000) }
        #expect(try frames(place) == 3)
        clock.advance(seconds: 601)
        for _ in 0..<3000 where try frames(place) > 0 { usleep(5000) }
        #expect(try frames(place) == 0)
        morning.signal()
        try await eventually { delivery.starts >= 1 }
        bus.publish(end(of: "n"))
        try await delivery.ends(["n"])
        #expect(delivery.frames.map(\.frame) == [end(of: "seen"), end(of: "n")])
        await bus.close()
        await log.stop()
    }
}
