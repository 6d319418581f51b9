internal import EventLoop
internal import Glibc
internal import ProxyGPT
internal import Synchronization
internal import TestSupport
internal import Testing

@testable internal import SQLStorage

/// A file that cannot be read or written: subscribers are referred to the store, and start over
/// after it.
@Suite struct BusAwayTests {
    private let chat = Chat.ID("chat")

    private func expectAway(
        _ place: BusPlace, _ bus: SQLiteBus, while change: (Bool) throws -> Void
    ) async throws {
        let log = try place.log()
        await log.watch { bus.isWritten }
        let delivery = try await Delivery(log)
        bus.publish(beginning(of: "m"))
        await bus.flush()
        let old = try await log.head()
        #expect(await !log.isAway())
        try change(true)
        try await eventually { await log.isAway() }
        try await eventually { await !bus.isReachable() }
        #expect(delivery.starts == 1)
        let empty = try await log.head()
        #expect(empty.sequence == 0 && empty.epoch != old.epoch)
        let running = try await log.runningFrames(of: chat)
        #expect(running.frames.isEmpty && running.head == empty)
        #expect(try await log.frames(of: chat, after: old) == nil)
        #expect(try await log.frames(of: chat, after: empty) == nil)
        bus.publish(end(of: "m"))
        try change(false)
        try await eventually { await !log.isAway() }
        try await eventually { await bus.isReachable() }
        try await eventually { delivery.starts >= 2 }
        bus.publish(end(of: "n"))
        // The end of the one has waited; it may be history by now.
        try await delivery.ends(["n"])
        let head = try await log.head()
        let first = FrameID(epoch: head.epoch, sequence: 0)
        let frames = try #require(try await log.frames(of: chat, after: first))
        #expect(frames.contains { $0.frame == end(of: "m") })
        await bus.close()
        await log.stop()
    }

    @Test func `a file that cannot be written is away, though it can be read`() async throws {
        let place = try BusPlace()
        let isFull = Atomic(false)
        var tuning = BusWriter.Tuning()
        tuning.observe = { _ in
            if isFull.load(ordering: .relaxed) {
                throw DatabaseError(.full, "full", during: "test")
            }
        }
        try await expectAway(place, try place.bus(tuning: tuning)) {
            isFull.store($0, ordering: .relaxed)
        }
    }

    @Test func `another file at the path counts as away, even if processes publish`() async throws {
        let place = try BusPlace()
        try await expectAway(place, try place.bus()) { begins in
            if begins {
                for name in ["", "-wal", "-shm"] { unlink(place.file + name) }
                #expect(mkdir(place.file, 0o700) == 0)
            } else {
                #expect(rmdir(place.file) == 0)
            }
        }
    }

    @Test func `a read that meets the loss of the file is answered as soon as the loss is known`()
        async throws
    {
        let place = try BusPlace()
        let bus = try place.bus()
        let log = try place.log()
        let delivery = try await Delivery(log)
        for name in ["", "-wal", "-shm"] { unlink(place.file + name) }
        #expect(mkdir(place.file, 0o700) == 0)
        let running = try await log.runningFrames(of: chat)
        #expect(running.frames.isEmpty && running.head.sequence == 0)
        #expect(await log.isAway())
        #expect(delivery.starts == 1)
        rmdir(place.file)
        await bus.close()
        await log.stop()
    }
}
