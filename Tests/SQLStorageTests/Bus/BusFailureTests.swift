internal import EventLoop
internal import Glibc
internal import ProxyGPT
internal import Synchronization
internal import TestSupport
internal import Testing

@testable internal import SQLStorage

/// What cannot be carried is dropped, never waited for, and never leaves a hole.
@Suite struct BusFailureTests {
    private let chat = Chat.ID("chat")

    private func all(_ place: BusPlace) async throws -> [LoggedFrame] {
        let log = try place.log()
        let first = FrameID(epoch: try await log.head().epoch, sequence: 0)
        return try #require(try await log.frames(of: chat, after: first))
    }

    @Test func `a full queue drops deltas, the rest of their message with them, and no end`()
        async throws
    {
        let place = try BusPlace()
        var tuning = BusWriter.Tuning()
        tuning.bounds = FrameQueue.Bounds(frames: 200, bytes: 1 << 20)
        let bus = try place.bus(tuning: tuning)
        let obstacle = try place.obstacle()
        bus.publish(delta("x", of: "first"))
        try await obstacle.isMet()
        // No caller waits: the writer stands before the obstacle.
        for index in 0..<300 {
            bus.publish(delta("\(index) ", of: "a"))
            bus.publish(delta("\(index) ", of: "b"))
        }
        bus.publish(delta("dropped", of: "c"))
        obstacle.remove()
        await bus.flush()
        bus.publish(delta("late", of: "a"))
        for message in ["a", "b", "c"] { bus.publish(end(of: message)) }
        bus.publish(delta("again", of: "d"))
        await bus.flush()
        let frames = try await all(place)
        #expect(joinedDeltas(frames, of: "a") == numbered(0..<100))
        #expect(joinedDeltas(frames, of: "b") == numbered(0..<100))
        #expect(joinedDeltas(frames, of: "c") == "")
        #expect(joinedDeltas(frames, of: "d") == "again")
        let ends = frames.filter(\.frame.isEnd).map(\.frame.messageID.text)
        #expect(ends.sorted() == ["a", "b", "c"])
        await bus.close()
    }

    @Test func `the queue is bounded in bytes too`() async throws {
        let place = try BusPlace()
        var tuning = BusWriter.Tuning()
        tuning.bounds = FrameQueue.Bounds(frames: 1000, bytes: 10_000)
        let bus = try place.bus(tuning: tuning)
        let obstacle = try place.obstacle()
        bus.publish(delta("x", of: "first"))
        try await obstacle.isMet()
        for index in 0..<20 {
            bus.publish(delta(String(repeating: "w", count: 1000), of: "m\(index)"))
        }
        obstacle.remove()
        await bus.flush()
        #expect(try place.number("SELECT COUNT(*) AS number FROM frames") == 1 + 7)
        await bus.close()
    }

    @Test func `a full disk costs deltas, and room brings the bus back with all ends`() async throws
    {
        let place = try BusPlace()
        let pages = Atomic(1_000_000)
        var tuning = BusWriter.Tuning()
        tuning.observe = { connection in
            let limit = pages.load(ordering: .relaxed)
            _ = try connection.query(SQL(unsafe: "PRAGMA max_page_count = \(limit)"))
        }
        let bus = try place.bus(tuning: tuning)
        bus.publish(delta("one ", of: "m"))
        await bus.flush()
        pages.store(1, ordering: .relaxed)
        for _ in 0..<3 {
            bus.publish(delta(String(repeating: "w", count: 100_000), of: "m"))
            await bus.flush()
        }
        bus.publish(end(of: "m"))
        bus.publish(end(of: "n"))
        await bus.flush()
        pages.store(1_000_000, ordering: .relaxed)
        bus.publish(delta("small", of: "o"))
        bus.publish(end(of: "o"))
        try await eventually { try await self.all(place).filter(\.frame.isEnd).count == 3 }
        let frames = try await all(place)
        #expect(joinedDeltas(frames, of: "m") == "one ", "a prefix")
        #expect(joinedDeltas(frames, of: "o") == "small")
        await bus.close()
    }

    @Test func `deltas behind a batch that was lost are lost with it`() async throws {
        let place = try BusPlace()
        let isFailing = Atomic(false)
        var tuning = BusWriter.Tuning()
        tuning.observe = { _ in
            if isFailing.exchange(false, ordering: .relaxed) {
                throw DatabaseError(.full, "full", during: "test")
            }
        }
        let bus = try place.bus(tuning: tuning)
        bus.publish(delta("one ", of: "m"))
        await bus.flush()
        let obstacle = try place.obstacle()
        bus.publish(delta("two ", of: "m"))
        try await obstacle.isMet()
        bus.publish(delta("three ", of: "m"))
        bus.publish(delta("other", of: "n"))
        bus.publish(end(of: "m"))
        isFailing.store(true, ordering: .relaxed)
        obstacle.remove()
        await bus.flush()
        bus.publish(delta("four", of: "n"))
        await bus.flush()
        #expect(
            try await all(place).map(\.frame) == [
                delta("one ", of: "m"), delta("other", of: "n"), end(of: "m"),
                delta("four", of: "n"),
            ])
        await bus.close()
    }

    @Test func `a bus that cannot be written closes all the same`() async throws {
        let place = try BusPlace()
        var tuning = BusWriter.Tuning()
        tuning.observe = { _ in throw DatabaseError(.full, "full", during: "test") }
        let bus = try place.bus(tuning: tuning)
        for index in 0..<200 { bus.publishReply("m\(index)", words: 2) }
        await bus.close()
        #expect(try place.number("SELECT COUNT(*) AS number FROM frames") == 0)
    }

    @Test func `a file of something else is replaced at the start`() async throws {
        let place = try BusPlace()
        let file = try #require(fopen(place.file, "we"))
        fputs(String(repeating: "no database at all ", count: 1000), file)
        fclose(file)
        let bus = try place.bus()
        bus.publish(delta("w", of: "m"))
        await bus.close()
        #expect(try await all(place).map(\.frame) == [delta("w", of: "m")])
    }

    @Test func `a schema of a newer release is left alone`() async throws {
        let place = try BusPlace()
        await (try place.bus()).close()
        let connection = try SQLiteConnection(file: place.file, role: .writer)
        try connection.run("INSERT INTO schema_migrations (version, name) VALUES (1000, 'new')")
        #expect(throws: MigrationError.self) { try place.bus() }
        #expect(throws: MigrationError.self) { try place.log() }
    }

    @Test func `a file that a reader finds damaged is replaced, and bus and log go on`()
        async throws
    {
        let place = try BusPlace()
        var tuning = BusWriter.Tuning()
        tuning.checkpointPages = 1
        let bus = try place.bus(tuning: tuning)
        let log = try place.log()
        bus.publish(delta("w", of: "m"))
        await bus.flush()
        let old = try await log.head()
        await log.stop()
        await damage(place, "log")
        var delivery: Delivery?
        try await eventually {
            delivery = try? await Delivery(log)
            return delivery != nil
        }
        bus.publish(end(of: "n"))
        try await delivery?.ends(["n"])
        let head = try await log.head()
        #expect(head.epoch != old.epoch && head.sequence == 1)
        await bus.close()
        await log.stop()
    }

    @Test func `a file that a writer finds damaged is replaced, and bus and log go on`()
        async throws
    {
        let place = try BusPlace()
        var tuning = BusWriter.Tuning()
        tuning.checkpointPages = 1
        let first = try place.bus(tuning: tuning)
        first.publish(delta("w", of: "m"))
        await first.close()
        await damage(place, "frames")
        // Without it the WAL, which is whole, would be read from its beginning.
        unlink(place.file + "-wal")
        let bus = try place.bus(tuning: tuning)
        let log = try place.log()
        // Before a reader, which would find the damage as well and replace the file in time.
        bus.publish(delta("lost", of: "n"))
        await bus.flush()
        let delivery = try await Delivery(log)
        bus.publish(end(of: "n"))
        bus.publish(end(of: "o"))
        try await delivery.ends(["n", "o"])
        #expect(delivery.starts == 1)
        #expect(delivery.text(of: "n") == "")
        await bus.close()
        await log.stop()
    }

    /// Overwrites the first page of a table, in a process that has the file open in no other way.
    private func damage(_ place: BusPlace, _ table: String) async {
        await #expect(processExitsWith: .success) {
            [file = place.file as String, table = table as String] in
            var page: Int64 = 0
            do {
                let connection = try SQLiteConnection(file: file, role: .reader)
                page =
                    try connection.query(
                        "SELECT rootpage FROM sqlite_schema WHERE name = \(table)"
                    ).first?.integer("rootpage") ?? 0
            }
            let descriptor = open(file, O_WRONLY)
            let rubbish = [UInt8](repeating: 0xA5, count: 4096)
            #expect(page > 1)
            #expect(pwrite(descriptor, rubbish, 4096, Int(page - 1) * 4096) == 4096)
        }
    }
}
