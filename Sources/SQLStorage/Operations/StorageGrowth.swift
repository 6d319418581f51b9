// The growth of a database, estimated from samples: some rows of each part of the last day, however
// many there are. No read takes long.

package import ProxyGPT

/// How much is added in a day, at the rate of the last one.
package struct StorageGrowth: Sendable, Equatable {
    /// The size of one kind of rows.
    package struct Part: Sendable, Equatable {
        package var rows = 0.0
        /// With its part of the indexes, roughly.
        package var bytes = 0.0
        /// Days since the oldest one that is kept.
        package var age = 0.0

        package init(rows: Double = 0, bytes: Double = 0, age: Double = 0) {
            self.rows = rows
            self.bytes = bytes
            self.age = age
        }
    }

    package var events = Part()
    package var bodies = Part()
    package var messages = Part()
    /// How many hours were looked at: fewer than 24 where there are no older events.
    package var hours: Int64 = 24

    package init() {}
}

extension SQLStorage {
    /// Rows of each part of the day that are looked at.
    private static let sample: Int64 = 100
    private static let parts: Int64 = 24
    private static let hour: Int64 = 3_600_000

    /// The growth in a day; nil where the first event is of this hour.
    ///
    /// - Parameters:
    ///   - bodyDays: how long bodies are kept.
    ///   - rowDays: how long events are kept; 0 for ever.
    package func growth(
        now: Timestamp, bodyDays: Int64, rowDays: Int64
    ) async throws -> StorageGrowth? {
        let now = try await database.currentTime(now)
        var growth = StorageGrowth()
        let oldest = try await age(of: "events", at: now, days: rowDays)
        let span = min(24 * Self.hour, oldest)
        guard span >= Self.hour else { return nil }
        growth.hours = span / Self.hour
        let length = span / Self.parts
        for part in 0..<Self.parts {
            let start = Timestamp(milliseconds: now.milliseconds - span + part * length)
            try await look(from: start, for: length, &growth)
        }
        let day = Double(Timestamp.dayLength)
        for table in [\StorageGrowth.events, \.bodies, \.messages] {
            growth[keyPath: table].rows *= day / Double(span)
            growth[keyPath: table].bytes *= day / Double(span)
        }
        growth.events.age = Double(oldest) / day
        growth.bodies.age =
            Double(try await age(of: "event_bodies", at: now, days: bodyDays)) / day
        return growth
    }

    /// Milliseconds since the oldest row that is not about to go.
    private func age(of table: String, at now: Timestamp, days: Int64) async throws -> Int64 {
        let start =
            days > 0
            ? EventScan.bound(now.adding(seconds: -days * 86_400)) : EventScan.first
        let rows = try await database.query(
            "SELECT id FROM \(unsafe: table) WHERE id >= \(start) ORDER BY id LIMIT 1")
        guard let id = try rows.first?.text("id") else { return 0 }
        return now.milliseconds - EventScan.time(of: id).milliseconds
    }

    private func look(
        from start: Timestamp, for length: Int64, _ growth: inout StorageGrowth
    ) async throws {
        await database.takeTurn()
        let end = Timestamp(milliseconds: start.milliseconds + length)
        let sizes = Sizes(isServer: database.dialect.hasServer)
        let events = try await database.query(
            """
            SELECT COUNT(*) AS count, COALESCE(MAX(time), 0) AS newest,
                COALESCE(SUM(size), 0) AS size, COUNT(body) AS bodies,
                COALESCE(SUM(body), 0) AS body_size
            FROM (SELECT timestamp AS time, \(unsafe: sizes.event) AS size,
                    (SELECT \(unsafe: sizes.body) FROM event_bodies
                        WHERE event_bodies.id = events.id) AS body
                FROM events
                WHERE id >= \(EventScan.bound(start)) AND id < \(EventScan.bound(end))
                ORDER BY id LIMIT \(Self.sample)) AS sample
            """)
        let messages = try await database.query(
            """
            SELECT COUNT(*) AS count, COALESCE(MAX(time), 0) AS newest,
                COALESCE(SUM(size), 0) AS size
            FROM (SELECT created_at AS time, \(unsafe: sizes.message) AS size FROM messages
                WHERE id >= \(EventScan.bound(start)) AND id < \(EventScan.bound(end))
                ORDER BY id LIMIT \(Self.sample)) AS sample
            """)
        guard let events = events.first, let messages = messages.first else { return }
        /// How many times as much as the sample came in the whole part.
        func factor(_ row: Row) throws -> Double {
            guard try row.integer("count") == Self.sample else { return 1 }
            let passed = try row.integer("newest") - start.milliseconds
            return max(1, Double(length) / Double(max(1, passed)))
        }
        let factors = (try factor(events), try factor(messages))
        growth.events.rows += Double(try events.integer("count")) * factors.0
        growth.events.bytes += Double(try events.integer("size")) * factors.0
        growth.bodies.rows += Double(try events.integer("bodies")) * factors.0
        growth.bodies.bytes += Double(try events.integer("body_size")) * factors.0
        growth.messages.rows += Double(try messages.integer("count")) * factors.1
        growth.messages.bytes += Double(try messages.integer("size")) * factors.1
    }
}

/// The size of a row, as SQL: its content, and the measured overhead for pages and indexes.
private struct Sizes {
    let event: String
    let body: String
    let message: String

    init(isServer: Bool) {
        if isServer {
            event = "pg_column_size(events.*) + 90"
            body = """
                COALESCE(pg_column_size(request), 0) * 21 / 20
                    + COALESCE(pg_column_size(response), 0) * 21 / 20 + 160
                """
            message = "pg_column_size(messages.*) + 260"
            return
        }
        func length(_ columns: [String]) -> String {
            columns.map { "COALESCE(LENGTH(CAST(\($0) AS BLOB)), 0)" }.joined(separator: " + ")
        }
        let texts = EventColumn.all.filter { if case .text = $0.value { true } else { false } }
        event = length(texts.map(\.sqlName) + ["process"]) + " + 80"
        body = """
            COALESCE(LENGTH(request), 0) + COALESCE(LENGTH(response), 0) + 140
                + CASE WHEN COALESCE(LENGTH(request), 0) + COALESCE(LENGTH(response), 0) > 1000
                    THEN 2048 ELSE 0 END
            """
        message =
            length([
                "id", "chat_id", "user_id", "group_id", "prompt", "reply", "model", "process",
            ]) + " + 300"
    }
}
