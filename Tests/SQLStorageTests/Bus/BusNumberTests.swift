internal import EventLoop
internal import Metrics
internal import ProxyGPT
internal import TestSupport
internal import Testing

@testable internal import SQLStorage

/// Numbers in the bus's file that no writer has put there: nothing traps, and the log begins anew.
@Suite struct BusNumberTests {
    private static let foreign = [
        "UPDATE sqlite_sequence SET seq = 9223372036854775807",
        "UPDATE sqlite_sequence SET seq = 9007199254740993",
        "UPDATE log SET trimmed = 9223372036854775807",
        "UPDATE log SET trimmed = -9223372036854775808",
        "UPDATE log SET floor = 9223372036854775807", "UPDATE log SET floor = -1",
        "UPDATE log SET epoch = ''", "UPDATE log SET epoch = 'e' || char(10) || 'data: x'",
        "UPDATE frames SET seq = 9223372036854775807; UPDATE sqlite_sequence SET seq = 1",
    ]

    @Test(arguments: foreign)
    func `a number that no log counts to makes the file anew`(sql: String) async throws {
        let place = try BusPlace()
        let bus = try place.bus()
        bus.publish(delta("w", of: "m"))
        await bus.flush()
        let log = try place.log()
        let old = try await log.head()
        let delivery = try await Delivery(log)
        try change(place, sql)
        // A row behind the newest is found by a reader of the following rows.
        try await eventually {
            bus.publish(end(of: "n"))
            return delivery.starts >= 1
        }
        bus.publish(end(of: "o"))
        try await delivery.ends(["o"])
        let head = try await log.head()
        #expect(head.epoch != old.epoch && head.sequence < 100)
        await bus.close()
        await log.stop()
    }

    @Test(arguments: [Int64.min, -1, 0, Int64.max])
    func `impossible times are no times, and frames come all the same`(
        time: Int64
    ) async throws {
        let place = try BusPlace()
        let bus = try place.bus()
        let log = try place.log()
        let delivery = try await Delivery(log)
        try change(
            place,
            """
            INSERT INTO frames (chat_id, message_id, user_id, kind, text, created_at)
            VALUES ('chat', 'm', 'user', 'ended', '', \(time));
            UPDATE messages SET begun_at = \(time), ended_at = \(time)
            """)
        try await delivery.ends(["m"])
        bus.publish(end(of: "n"))
        try await delivery.ends(["n"])
        await bus.close()
        await log.stop()
    }

    @Test(arguments: ["9223372036854775807", "-9223372036854775808", "NULL"])
    func `trimming by such numbers does not trap`(number: String) async throws {
        let place = try BusPlace()
        let bus = try place.bus(clock: TestClock())
        bus.publishReply("m", words: 3)
        await bus.flush()
        try change(
            place,
            """
            UPDATE messages SET first_seq = COALESCE(\(number), first_seq), last_seq = \(number),
                begun_at = -1, ended_at = -1;
            INSERT OR REPLACE INTO trimmed_chats VALUES
                ('chat', COALESCE(\(number), 0), COALESCE(\(number), 0))
            """)
        let connection = try SQLiteConnection(file: place.file, role: .writer)
        let statements = try BusStatements(connection)
        for now in [Int64(0), 1_000_000_000] { _ = try? statements.trim(at: now, limit: 10) }
        let log = try place.log()
        let first = FrameID(epoch: try await log.head().epoch, sequence: 0)
        _ = try? await log.frames(of: Chat.ID("chat"), after: first)
        _ = try? await log.runningFrames(of: Chat.ID("chat"))
        await bus.close()
    }

    private func change(_ place: BusPlace, _ sql: String) throws {
        let connection = try SQLiteConnection(file: place.file, role: .writer)
        for statement in sql.split(separator: ";") { try connection.run(String(statement)) }
    }
}
