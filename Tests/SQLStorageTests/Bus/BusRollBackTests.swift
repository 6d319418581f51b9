internal import EventLoop
internal import Glibc
internal import ProxyGPT
internal import TestSupport
internal import Testing

@testable internal import SQLStorage

/// A file that is put back to what it was: old ids lead to a reset, never to a silent hole.
@Suite struct BusRollBackTests {
    private let chat = Chat.ID("chat")

    @Test func `a log goes on while a process has it open, and begins anew where none has`()
        async throws
    {
        let place = try BusPlace()
        let old = try await goOn(place)
        // It is not known whether this is still the file that they had open.
        try await eventually { try LockFile(place.file + ".lock").tryLock(.exclusive) }
        let log = try place.log()
        #expect(try await log.head().epoch != old.epoch)
        #expect(try await log.frames(of: chat, after: old) == nil)
        await log.stop()
    }

    /// Hands the file from one to the next; no process has it open any more when this returns.
    private func goOn(_ place: BusPlace) async throws -> FrameID {
        let first = try place.bus()
        let second = try place.bus()
        first.publishReply("m", words: 3)
        await first.close()
        let log = try place.log()
        let old = try await log.head()
        second.publishReply("n", words: 3)
        await second.close()
        let third = try place.bus()
        third.publishReply("o", words: 3)
        await third.flush()
        #expect(try await log.head().epoch == old.epoch)
        #expect(try await log.frames(of: chat, after: old)?.isEmpty == false)
        await third.close()
        await log.stop()
        return old
    }

    @Test func `a file of the release before goes on, since its processes may be at it`()
        async throws
    {
        let place = try BusPlace()
        let bus = try place.bus()
        bus.publishReply("m", words: 3)
        await bus.flush()
        let epoch = await bus.mark()?.epoch
        await bus.close()
        let connection = try SQLiteConnection(file: place.file, role: .writer)
        try connection.run("PRAGMA user_version = 0")
        let again = try place.bus()
        again.publishReply("n", words: 3)
        await again.flush()
        #expect(await again.mark()?.epoch == epoch)
        await again.close()
    }

    /// Copies the file with SQLite's files beside it, while no process writes.
    private func copy(_ place: BusPlace, from: String, to: String) throws {
        for suffix in ["", "-wal"] {
            let source = fopen(place.directory + "/" + from + suffix, "re")
            let target = fopen(place.directory + "/" + to + suffix, "we")
            defer {
                source.map { _ = fclose($0) }
                target.map { _ = fclose($0) }
            }
            let (read, write) = (try #require(source), try #require(target))
            var buffer = [UInt8](repeating: 0, count: 1 << 20)
            while case let count = fread(&buffer, 1, buffer.count, read), count > 0 {
                fwrite(buffer, 1, count, write)
            }
        }
    }

    @Test(arguments: [true, false])
    func `a file that is put back under processes that have it open begins anew`(
        writerKnows: Bool
    ) async throws {
        let place = try BusPlace()
        let log = try place.log()
        let delivery = try await Delivery(log)
        let (bus, other) = (try place.bus(), try place.bus())
        bus.publishReply("m", words: 3)
        try await delivery.ends(["m"])
        try copy(place, from: "bus.db", to: "copy.db")
        (writerKnows ? bus : other).publishReply("n", words: 3)
        try await delivery.ends(["n"])
        let old = try await log.head()
        for name in ["", "-wal", "-shm"] { unlink(place.file + name) }
        for suffix in ["", "-wal"] {
            rename(place.directory + "/copy.db" + suffix, place.file + suffix)
        }
        if writerKnows {
            bus.publishReply("o", words: 9)
            try await delivery.ends(["o"])
        }
        try await eventually { delivery.starts >= 1 }
        try await eventually { try await log.head().epoch != old.epoch }
        #expect(try await log.frames(of: chat, after: old) == nil)
        for bus in [bus, other] { await bus.close() }
        await log.stop()
    }

    @Test func `a log that is to begin anew does so once`() async throws {
        let place = try BusPlace()
        let (bus, other) = (try place.bus(), try place.bus())
        bus.publishReply("m", words: 3)
        await bus.flush()
        let epoch = try #require(await bus.mark()?.epoch)
        for bus in [bus, other] { #expect(await bus.beginAnew(after: epoch)) }
        bus.publishReply("n", words: 3)
        await bus.flush()
        let new = await bus.mark()?.epoch
        #expect(new != epoch)
        other.publishReply("o", words: 3)
        await other.flush()
        #expect(await other.mark()?.epoch == new)
        for bus in [bus, other] { await bus.close() }
    }
}
