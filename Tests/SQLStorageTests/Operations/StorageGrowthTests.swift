internal import ProxyGPT
internal import TestSupport
internal import Testing

@testable internal import SQLStorage

/// How fast the database grows, as `doctor` tells it from samples.
@Suite struct StorageGrowthTests {
    private func id(_ time: Timestamp, _ number: Int) -> String {
        UUIDText.version7(
            milliseconds: time.milliseconds, counter: UInt16(number % 4096), random: UInt64(number))
    }

    /// Adds an event, every second one with bodies, and a message at even distances up to now.
    private func fill(_ storage: SQLStorage, _ count: Int, hours: Int64, bodySize: Int) async throws
    {
        let user = try await storage.addUser("asim").user
        let chat = makeChat(of: user.id)
        try await storage.store.create(chat)
        let span = hours * 3_600_000
        // Nothing that could be made smaller.
        let body = (0..<bodySize).map { _ in UInt8.random(in: 0...255) }
        for batch in stride(from: 0, to: count, by: 100) {
            for number in batch..<min(count, batch + 100) {
                let time = Timestamp(
                    milliseconds: now.milliseconds - span + span * Int64(number) / Int64(count))
                var event = Event(
                    id: Event.ID(id(time, number)), timestamp: time, kind: .forward,
                    requestID: "3653d02fce340481896c6efed9e60091", clientAddress: "192.0.2.17",
                    method: "POST", path: "/v1/chat/completions")
                event.userID = user.id
                event.model = "gpt-4o-mini-2024-07-18"
                event.status = 200
                event.durationMicroseconds = 812_345
                (event.promptTokens, event.completionTokens) = (123, 456)
                (event.upstreamStatus, event.upstreamMicroseconds) = (200, 801_234)
                event.upstreamRequestID = "req_0123456789abcdef0123456789abcdef"
                (event.bytesIn, event.bytesOut) = (2345, 3456)
                event.end = .done
                if number % 2 == 0 {
                    event.requestBody = body
                    event.responseBody = body
                }
                storage.events.record(event)
            }
            _ = try await storage.database.transaction { transaction in
                for number in batch..<min(count, batch + 100) {
                    let time = Timestamp(
                        milliseconds: now.milliseconds - span + span * Int64(number) / Int64(count))
                    let text = (0..<20).map { _ in ids.next() }.joined()
                    try await transaction.send(
                        """
                        INSERT INTO messages (id, chat_id, seq, user_id, prompt, reply, model,
                            state, process, created_at, updated_at)
                        VALUES (\(id(time, number)), \(chat.id), \(number + 1), \(user.id), \(text),
                            \(text), 'gpt-3.5-turbo', 'done', \(ids.next()), \(time), \(time))
                        """)
                }
            }
        }
        try await eventually {
            try await storage.number("SELECT COUNT(*) AS number FROM events") == count
        }
    }

    /// What the tables take on the disk.
    private func sizes(_ storage: SQLStorage) async throws -> [Double] {
        var sizes: [Double] = []
        for table in ["events", "event_bodies", "messages"] {
            let sql: SQL =
                storage.database.dialect.hasServer
                ? """
                SELECT pg_total_relation_size('\(unsafe: table)') AS number
                """
                : """
                SELECT SUM(pgsize) AS number FROM dbstat WHERE name IN (
                    SELECT name FROM sqlite_schema WHERE tbl_name = '\(unsafe: table)')
                """
            sizes.append(Double(try await storage.number(sql)))
        }
        return sizes
    }

    @Test(arguments: Engine.allCases, [500, 16_384])
    func `the estimated size of rows is good enough to plan a disk by`(
        on engine: Engine, bodySize: Int
    ) async throws {
        let place = try await Place(empty: engine)
        try await place.with { storage in
            try await fill(storage, 900, hours: 6, bodySize: bodySize)
            let growth = try #require(
                try await storage.growth(now: now, bodyDays: 30, rowDays: 400))
            #expect(growth.hours == 6)
            let days = 24.0 / 6
            #expect((0.95...1.05).contains(growth.events.rows / (900 * days)))
            #expect((0.9...1.1).contains(growth.bodies.rows / (450 * days)))
            #expect((0.95...1.05).contains(growth.messages.rows / (900 * days)))
            #expect(abs(growth.events.age - 0.25) < 0.01)
            let told = [growth.events, growth.bodies, growth.messages].map { $0.bytes / days }
            for (one, taken) in zip(told, try await sizes(storage)) {
                #expect((0.7...1.4).contains(one / taken), "\(one) told, \(taken) taken")
            }
        }
    }

    @Test(arguments: Engine.allCases)
    func `an hour of events is needed, and samples show floods`(
        on engine: Engine
    ) async throws {
        let place = try await Place(empty: engine)
        try await place.with { storage in
            #expect(try await storage.growth(now: now, bodyDays: 30, rowDays: 400) == nil)
            // 600 events within the first of 24 parts of two hours, of which 100 are looked at.
            for number in 0..<600 {
                let time = Timestamp(
                    milliseconds: now.milliseconds - 7_200_000 + Int64(number) * 500)
                storage.events.record(
                    closed(
                        Event(id: Event.ID(id(time, number)), timestamp: time, kind: .request)))
            }
            // Rows that nobody waits for come some time later.
            try await eventually {
                try await storage.number("SELECT COUNT(*) AS number FROM events") == 600
            }
            let growth = try #require(
                try await storage.growth(now: now, bodyDays: 30, rowDays: 0))
            #expect((7000...7500).contains(growth.events.rows))
            #expect(growth.bodies.rows == 0 && growth.bodies.age == 0)
        }
    }
}
