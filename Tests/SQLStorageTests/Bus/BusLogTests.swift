internal import EventLoop
internal import Glibc
internal import ProxyGPT
internal import TestSupport
internal import Testing

@testable internal import SQLStorage

/// What a reader learns: live, of the past, and when the log is another one.
@Suite struct BusLogTests {
    private let chat = Chat.ID("chat")

    // MARK: - Live

    @Test
    func
        `a log that starts in the middle delivers exactly the frames that are committed afterwards`()
        async throws
    {
        let place = try BusPlace()
        let bus = try place.bus()
        bus.publish(delta("before", of: "m"))
        await bus.flush()
        let log = try place.log()
        let delivery = try await Delivery(log)
        bus.publish(delta("after", of: "m"))
        bus.publish(end(of: "m"))
        try await delivery.ends(["m"])
        #expect(delivery.frames.map(\.frame) == [delta("after", of: "m"), end(of: "m")])
        await log.stop()
        await bus.close()
    }

    @Test func `frames arrive also without a signal`() async throws {
        let place = try BusPlace()
        let log = try place.log()
        let delivery = try await Delivery(log)
        let bus = try place.bus(wakeup: place.directory + "/nobody.sock")
        bus.publish(end(of: "m"))
        try await delivery.ends(["m"])
        await log.stop()
        await bus.close()
    }

    @Test func `a wakeup socket that another process has bound is answered`() async throws {
        let place = try BusPlace()
        let path = place.directory + "/other.sock"
        let socket = try DatagramSocket(at: path)
        defer { unlink(path) }
        let log = try SQLiteBusLog.open(
            file: place.file, wakeup: .descriptor(dup(socket.descriptor)),
            process: ProcessIdentity(id: "p", host: "host", bootID: "boot"), identifiers: ids,
            logger: silent)
        let delivery = try await Delivery(log)
        let bus = try place.bus(wakeup: path)
        bus.publish(end(of: "m"))
        try await delivery.ends(["m"])
        await log.stop()
        await bus.close()
    }

    @Test func `a wakeup socket that is not read stops no writer`() async throws {
        let place = try BusPlace()
        let socket = try DatagramSocket(at: place.wakeup)
        let bus = try place.bus()
        for index in 0..<200 {
            bus.publish(end(of: "m\(index)"))
            await bus.flush()
        }
        #expect(try place.number("SELECT COUNT(*) AS number FROM frames") == 200)
        #expect(Sockets.isReady(socket.descriptor, for: .readable))
        await bus.close()
    }

    @Test func `nothing is delivered after the stop`() async throws {
        let place = try BusPlace()
        let log = try place.log()
        let delivery = try await Delivery(log)
        let bus = try place.bus()
        await log.stop()
        bus.publish(end(of: "m"))
        await bus.flush()
        let second = try await Delivery(log)
        bus.publish(end(of: "n"))
        try await second.ends(["n"])
        #expect(delivery.frames.isEmpty)
        #expect(second.frames.map(\.frame) == [end(of: "n")])
        await log.stop()
        await bus.close()
    }

    // MARK: - The past

    @Test(arguments: ["history", "running"])
    func `a reader of the log finds in the store the rows that were there before`(
        _ reading: String
    ) async throws {
        let place = try BusPlace()
        try await place.place.with { storage in
            let log = try place.log()
            let id = try await log.head()
            let other = try SQLiteConnection(file: place.place.file, role: .writer)
            let chat = chat
            let (before, after) = try await Task(executorPreference: EventLoop.shared.executor) {
                let count: SQL = "SELECT COUNT(*) AS number FROM revocations"
                // A turn may end between two reads on a busy machine; then the next one is tried.
                for stored in Int64(1)...1000 {
                    await EventLoop.nextTurn()
                    // Another process stores something while this turn has a snapshot.
                    let first = try await storage.number(count)
                    _ = try other.query(
                        "INSERT INTO revocations (seq, created_at) VALUES (\(stored), 9)")
                    guard try await storage.number(count) == first else { continue }
                    switch reading {
                    case "history": _ = try await log.frames(of: chat, after: id)
                    default: _ = try await log.runningFrames(of: chat)
                    }
                    return (first, try await storage.number(count))
                }
                return (-1, -1)
            }.value
            #expect(before >= 0, "a turn has a snapshot")
            #expect(after == before + 1)
        }
    }

    @Test func `history is that of one chat, after one frame, and of one epoch`() async throws {
        let place = try BusPlace()
        let bus = try place.bus()
        for index in 0..<6 {
            bus.publish(delta("\(index)", of: "m\(index)", in: index % 2 == 0 ? "chat" : "other"))
            await bus.flush()
        }
        let log = try place.log()
        let head = try await log.head()
        func history(_ sequence: Int64, epoch: String? = nil) async throws -> [Int64]? {
            let id = FrameID(epoch: epoch ?? head.epoch, sequence: sequence)
            return try await log.frames(of: chat, after: id)?.map(\.id.sequence)
        }
        #expect(try await history(0) == [1, 3, 5])
        #expect(try await history(1) == [3, 5])
        #expect(try await history(2) == [3, 5])
        #expect(try await history(6) == [])
        #expect(try await history(7) == nil, "above the head")
        #expect(try await history(Int64.max) == nil)
        #expect(try await history(3, epoch: "other") == nil)
        await bus.close()
    }

    @Test func `running frames are those of messages without an end, from their beginning`()
        async throws
    {
        let place = try BusPlace()
        let bus = try place.bus()
        for text in ["a", "b"] {
            for message in ["done", "one", "two"] {
                bus.publish(delta(text, of: message, prompt: text == "a" ? message : nil))
            }
            bus.publish(delta(text, of: "elsewhere", in: "other"))
            await bus.flush()
        }
        bus.publish(end(of: "done"))
        await bus.flush()
        let log = try place.log()
        let running = try await log.runningFrames(of: chat)
        #expect(
            running.frames.map(\.frame) == [
                delta("a", of: "one", prompt: "one"), delta("a", of: "two", prompt: "two"),
                delta("b", of: "one"), delta("b", of: "two"),
            ])
        #expect(running.frames.areInOrder)
        #expect(try await running.head == log.head())
        await bus.close()
    }

    @Test func `registering first and reading history then leaves neither hole nor repetition`()
        async throws
    {
        let place = try BusPlace()
        let log = try place.log()
        let buses = [try place.bus(), try place.bus()]
        let (seen, _) = try await resumeAgainAndAgain(log, while: buses)
        #expect(seen.areInOrder)
        for parity in 0..<2 {
            let whole = stride(from: parity, to: 400, by: 2).map { "\($0) " }.joined()
            #expect(joinedDeltas(seen, of: "m\(parity)") == whole)
        }
        for bus in buses { await bus.close() }
        await log.stop()
    }

    @Test func `frames come in batches of bounded weight, and a heavy history is refused`()
        async throws
    {
        let place = try BusPlace()
        let log = try place.log()
        let delivery = try await Delivery(log)
        let first = try await log.head()
        let bus = try place.bus()
        let text = String(repeating: "w", count: 100_000)
        for index in 0..<200 {
            bus.publish(delta(text, of: "m\(index)"))
            if index % 50 == 0 { await bus.flush() }
        }
        bus.publish(end(of: "m"))
        try await delivery.ends(["m"])
        #expect(delivery.frames.count == 201)
        #expect(delivery.frames.areInOrder)
        #expect(try await log.frames(of: chat, after: first) == nil)
        let recent = FrameID(epoch: first.epoch, sequence: 150)
        #expect(try await log.frames(of: chat, after: recent)?.count == 51)
        await bus.close()
        await log.stop()
    }

    // MARK: - Another log

    @Test func `a file keeps its epoch within a boot and begins a new one after it`() async throws {
        let place = try BusPlace()
        let bus = try place.bus(boot: "first")
        bus.publish(delta("old", of: "m"))
        await bus.close()
        let old = try await place.log(boot: "first").head()
        #expect(old.sequence == 1)
        #expect(old.epoch.utf8.count == 16)
        #expect(FrameID(old.description) == old)

        let log = try place.log(boot: "second")
        let head = try await log.head()
        #expect(head.sequence == 0)
        #expect(head.epoch != old.epoch)
        #expect(try await log.runningFrames(of: chat).frames.isEmpty)
        #expect(try await log.frames(of: chat, after: old) == nil)
        let next = try place.bus(boot: "second")
        next.publish(delta("new", of: "m"))
        await next.flush()
        #expect(try await log.head() == FrameID(epoch: head.epoch, sequence: 1))
        await next.close()
    }

    @Test func `a file that is replaced begins anew for every process that has it open`()
        async throws
    {
        let place = try BusPlace()
        let log = try place.log()
        let delivery = try await Delivery(log)
        let bus = try place.bus()
        bus.publish(delta("one", of: "m"))
        bus.publish(end(of: "m"))
        try await delivery.ends(["m"])
        let old = try await log.head()
        for name in ["", "-wal", "-shm"] { unlink(place.file + name) }
        bus.publish(delta("two", of: "n"))
        bus.publish(end(of: "n"))
        try await delivery.ends(["n"])
        #expect(delivery.starts == 1)
        #expect(delivery.text(of: "n") == "two")
        let head = try await log.head()
        #expect(head.epoch != old.epoch)
        #expect(try await log.frames(of: chat, after: old) == nil)
        let first = FrameID(epoch: head.epoch, sequence: 0)
        #expect(try await log.frames(of: chat, after: first)?.last?.frame == end(of: "n"))
        await bus.close()
        await log.stop()
    }

    @Test func `frames of a kind that is not known are passed over`() async throws {
        let place = try BusPlace()
        let log = try place.log()
        let delivery = try await Delivery(log)
        let bus = try place.bus()
        let connection = try SQLiteConnection(file: place.file, role: .writer, durability: .normal)
        _ = try connection.execute(
            """
            INSERT INTO frames (chat_id, message_id, user_id, kind, text, created_at)
            VALUES ('chat', 'm', 'user', 'new', '', 0)
            """)
        bus.publish(end(of: "m"))
        try await delivery.ends(["m"])
        #expect(delivery.frames.map(\.id.sequence) == [2])
        await bus.close()
        await log.stop()
    }
}
