internal import EventLoop
internal import Glibc
internal import ProxyGPT
internal import TestSupport
internal import Testing

@testable internal import SQLStorage

/// Published frames arrive: from many writers, in order, whole.
@Suite struct BusTests {
    @Test func `frames arrive with everything that was in them`() async throws {
        let place = try BusPlace()
        let log = try place.log()
        let delivery = try await Delivery(log)
        let bus = try place.bus()
        bus.publish(delta("Hé\u{0}llo", of: "m", prompt: "tell me"))
        await bus.flush()
        bus.publish(delta(" there", of: "m"))
        bus.publish(end(of: "m"))
        try await delivery.ends(["m"])
        #expect(
            delivery.frames.map(\.frame) == [
                delta("Hé\u{0}llo", of: "m", prompt: "tell me"), delta(" there", of: "m"),
                end(of: "m"),
            ])
        #expect(delivery.frames.map(\.id.sequence) == [1, 2, 3])
        #expect(try await log.head() == delivery.frames.last?.id)
        await bus.close()
        await log.stop()
    }

    @Test func `several writers at once lose nothing and keep each message in order`() async throws
    {
        let place = try BusPlace()
        let log = try place.log()
        let delivery = try await Delivery(log)
        let buses = try (0..<4).map { _ in try place.bus() }
        _ = await concurrently(16) { index in
            for round in 0..<5 {
                buses[index % 4].publishReply(
                    "m\(index)-\(round)", in: "chat\(index % 3)", words: 100)
                await EventLoop.sleep(milliseconds: 1)
            }
        }
        let messages = (0..<16).flatMap { index in (0..<5).map { "m\(index)-\($0)" } }
        try await delivery.ends(messages)
        for message in messages { #expect(delivery.text(of: message) == numbered(0..<100)) }
        let frames = delivery.frames
        #expect(frames.areInOrder)
        #expect(frames.count(where: \.frame.isEnd) == messages.count, "each ends once")
        #expect(frames.count < 16 * 5 * 20, "words of a group are merged")
        #expect(delivery.starts == 0)
        for bus in buses { await bus.close() }
        await log.stop()
    }

    @Test func `several processes at once lose nothing and keep each message in order`()
        async throws
    {
        let place = try BusPlace()
        let log = try place.log()
        let delivery = try await Delivery(log)
        let directory = place.directory
        await withTaskGroup { group in
            for index in 0..<3 {
                group.addTask {
                    await #expect(processExitsWith: .success) {
                        [directory = directory as String, index = index as Int] in
                        _ = Loop.started
                        let bus = try BusPlace.bus(in: directory)
                        for round in 0..<20 {
                            bus.publishReply("m\(index)-\(round)", words: 100)
                            if round % 3 == 0 { await bus.flush() }
                        }
                        await bus.close()
                    }
                }
            }
        }
        let messages = (0..<3).flatMap { index in (0..<20).map { "m\(index)-\($0)" } }
        try await delivery.ends(messages)
        for message in messages { #expect(delivery.text(of: message) == numbered(0..<100)) }
        #expect(delivery.frames.areInOrder)
        await log.stop()
    }

    @Test func `ids grow in the order of commits`() async throws {
        let place = try BusPlace()
        let log = try place.log()
        let buses = [try place.bus(), try place.bus()]
        var heads: [FrameID] = [try await log.head()]
        for index in 0..<20 {
            buses[index % 2].publish(delta("w", of: "m\(index)"))
            await buses[index % 2].flush()
            heads.append(try await log.head())
        }
        #expect(heads.map(\.sequence) == Array(0...20))
        for bus in buses { await bus.close() }
    }

    @Test func `frames that are published while a batch commits make one row for each message`()
        async throws
    {
        let place = try BusPlace()
        let bus = try place.bus()
        let obstacle = try place.obstacle()
        bus.publish(delta("first ", of: "m"))
        try await obstacle.isMet()
        for index in 0..<10 {
            bus.publish(delta("\(index) ", of: "m", prompt: index == 0 ? "late" : nil))
            bus.publish(delta("\(index) ", of: "n", prompt: "prompt"))
        }
        bus.publish(end(of: "m"))
        obstacle.remove()
        await bus.flush()
        let log = try place.log()
        let first = FrameID(epoch: try await log.head().epoch, sequence: 0)
        let frames = try await log.frames(of: Chat.ID("chat"), after: first)
        #expect(
            frames?.map(\.frame) == [
                delta("first ", of: "m"), delta(numbered(0..<10), of: "m", prompt: "late"),
                delta(numbered(0..<10), of: "n", prompt: "prompt"), end(of: "m"),
            ])
        await bus.close()
    }

    @Test func `nothing of a message is carried after its end`() async throws {
        let place = try BusPlace()
        let log = try place.log()
        let delivery = try await Delivery(log)
        let paused = try place.bus()
        let other = try place.bus()
        paused.publish(delta("one", of: "m"))
        await paused.flush()
        other.publish(end(of: "m"))
        await other.flush()
        paused.publish(delta("two", of: "m"))
        paused.publish(end(of: "m"))
        paused.publish(end(of: "n"))
        try await delivery.ends(["n"])
        #expect(
            delivery.frames.map(\.frame) == [delta("one", of: "m"), end(of: "m"), end(of: "n")])
        for bus in [paused, other] { await bus.close() }
        await log.stop()
    }

    @Test func `closing commits the published frames, and nothing is taken afterwards`()
        async throws
    {
        let place = try BusPlace()
        let bus = try place.bus()
        for index in 0..<1000 { bus.publish(delta("w", of: "m\(index)")) }
        await bus.close()
        #expect(try place.number("SELECT COUNT(*) AS number FROM frames") == 1000)
        bus.publish(delta("w", of: "late"))
        await bus.flush()
        await bus.close()
        #expect(try place.number("SELECT COUNT(*) AS number FROM frames") == 1000)
    }

    @Test func `the WAL stays small under load from two writers while a log is read`() async throws
    {
        let place = try BusPlace()
        var tuning = BusWriter.Tuning()
        tuning.checkpointPages = 50
        let log = try place.log()
        let delivery = try await Delivery(log)
        let buses = [try place.bus(tuning: tuning), try place.bus(tuning: tuning)]
        _ = await concurrently(8) { index in
            let text = String(repeating: "word ", count: 1000)
            for round in 0..<20 {
                buses[index % 2].publish(delta(text, of: "m\(index)-\(round)"))
                buses[index % 2].publish(end(of: "m\(index)-\(round)"))
                await buses[index % 2].flush()
            }
        }
        try await delivery.ends((0..<8).flatMap { index in (0..<20).map { "m\(index)-\($0)" } })
        // Some 50 pages, and what groups add before the next writer can start the WAL anew.
        #expect(place.size(of: "-wal") < 400 * 4120)
        #expect(place.size(of: "") > 100 * 4096, "far more went through it")
        for bus in buses { await bus.close() }
        await log.stop()
    }
}
