internal import EventLoop
internal import ProxyGPT
internal import TestSupport
internal import Testing

@testable internal import SQLStorage

@Suite struct EventWriterTests {
    @Test(arguments: Engine.allCases)
    func `a closed event is a row with all that was known`(
        on engine: Engine
    ) async throws {
        let place = try await Place(engine)
        try await place.with { storage in
            var event = makeEvent("/v1/chat/completions")
            event.status = 200
            event.durationMicroseconds = 1
            event.userID = User.ID("user")
            event.chatID = "chat"
            event.groupID = "group"
            event.model = "gpt-4"
            event.promptTokens = 2
            event.completionTokens = 3
            event.upstreamStatus = 201
            event.upstreamMicroseconds = 4
            event.upstreamRequestID = "req_1"
            event.bytesIn = 5
            event.bytesOut = 6
            event.end = .clientGone
            event.detail = "detail"
            event.requestBody = [7]
            try await storage.events.close(event)

            let row = try #require(try await storage.event(event.id))
            let process = storage.lease.process.id
            let expected: [String: SQLValue] = [
                "id": .text(event.id.text), "timestamp": .integer(now.milliseconds),
                "type": .text("forward"), "request_id": .text("request"),
                "client_ip": .text("::1"), "method": .text("GET"),
                "path": .text("/v1/chat/completions"), "status": .integer(200),
                "duration_us": .integer(1), "user_id": .text("user"), "chat_id": .text("chat"),
                "group_id": .text("group"), "model": .text("gpt-4"), "prompt_tokens": .integer(2),
                "completion_tokens": .integer(3), "upstream_status": .integer(201),
                "upstream_us": .integer(4), "upstream_request_id": .text("req_1"),
                "bytes_in": .integer(5), "bytes_out": .integer(6), "end": .text("client_gone"),
                "detail": .text("detail"), "process": .text(process),
            ]
            #expect(Dictionary(uniqueKeysWithValues: zip(row.columns, row.values)) == expected)
            let bodies = try await storage.database.query("SELECT * FROM event_bodies")
            #expect(bodies.map(\.values) == [[.text(event.id.text), .blob([7]), .null]])
        }
    }

    @Test(arguments: Engine.allCases)
    func `an event without bodies has no row for them`(
        on engine: Engine
    ) async throws {
        let place = try await Place(engine)
        try await place.with { storage in
            try await storage.events.close(closed(makeEvent()))
            #expect(try await storage.number("SELECT COUNT(*) AS number FROM event_bodies") == 0)
        }
    }

    @Test(arguments: Engine.allCases)
    func `an opened row is committed before its call goes on, and closed later`(
        on engine: Engine
    )
        async throws
    {
        let place = try await Place(engine)
        try await place.with { storage in
            var event = makeEvent()
            event.requestBody = [1]
            storage.events.open(event)
            try await storage.events.opened(event.id)
            let open = try #require(try await storage.event(event.id))
            #expect(try open.optionalText("end") == nil)
            try await storage.events.opened(event.id)

            event.requestBody = nil
            event.responseBody = [2]
            event.model = "gpt-4"
            try await storage.events.close(closed(event))
            let row = try #require(try await storage.event(event.id))
            #expect(try row.text("end") == "done")
            #expect(try row.text("model") == "gpt-4")
            #expect(try row.text("path") == "/v1/models")
            let bodies = try await storage.database.query("SELECT * FROM event_bodies")
            #expect(bodies.map(\.values) == [[.text(event.id.text), .blob([1]), .blob([2])]])
        }
    }

    @Test(arguments: Engine.allCases)
    func `an opening row is committed by itself when nothing else comes`(
        on engine: Engine
    ) async throws {
        let place = try await Place(engine)
        try await place.with { storage in
            let event = makeEvent()
            storage.events.open(event)
            try await eventually { try await storage.event(event.id) != nil }
        }
    }

    @Test(arguments: Engine.allCases)
    func `waiting for an event that was never opened is over at once`(
        on engine: Engine
    ) async throws {
        let place = try await Place(engine)
        try await place.with { storage in
            try await storage.events.opened(Event.ID("unknown"))
        }
    }

    @Test func `an open followed by its close is one insert`() async throws {
        let place = try Place()
        try await place.with { storage in
            try await storage.write(
                """
                CREATE TRIGGER no_update BEFORE UPDATE ON events
                BEGIN SELECT RAISE(ABORT, 'a second write'); END
                """)
            let obstacle = try Obstacle(place)
            async let blocked: Void = storage.events.close(closed(makeEvent()))
            defer { obstacle.remove() }
            try await obstacle.isMet()
            let events = (0..<100).map { _ in makeEvent() }
            for event in events { storage.events.open(event) }
            async let results = concurrently(100) { index in
                try await storage.events.close(closed(events[index]))
            }
            // The closing rows, the opening rows that they make needless, and the one before them.
            try await eventually { storage.events.waitingRows == 201 }
            obstacle.remove()
            for result in await results { try result.get() }
            try await blocked
            #expect(
                try await storage.number(
                    "SELECT COUNT(*) AS number FROM events WHERE \"end\" = 'done'") == 101)
        }
    }

    @Test(arguments: Engine.allCases)
    func `a row that another process has closed cannot be overwritten`(
        on engine: Engine
    ) async throws {
        let place = try await Place(engine)
        try await place.with { storage in
            let event = makeEvent()
            storage.events.open(event)
            try await storage.events.opened(event.id)
            try await storage.write("UPDATE events SET \"end\" = 'error'")
            await #expect(throws: DatabaseError.self) {
                try await storage.events.close(closed(event))
            }
            #expect(try await storage.event(event.id)?.text("end") == "error")
        }
    }

    @Test(arguments: Engine.allCases)
    func `a row that cannot be written fails alone`(
        on engine: Engine
    ) async throws {
        let place = try await Place(engine)
        try await place.with { storage in
            let event = makeEvent()
            try await storage.events.close(closed(event))
            let others = (0..<20).map { _ in makeEvent() }
            let results = await concurrently(21) { index in
                try await storage.events.close(closed(index == 20 ? event : others[index]))
            }
            for (index, result) in results.enumerated() {
                if case .failure(let error) = result {
                    #expect(index == 20)
                    #expect((error as? DatabaseError)?.kind == .uniqueViolation)
                } else {
                    #expect(index < 20)
                }
            }
            #expect(try await storage.number("SELECT COUNT(*) AS number FROM events") == 21)
        }
    }

    @Test(arguments: Engine.allCases)
    func `a caller that waits for an opening row gets the error when the row is refused`(
        on engine: Engine
    ) async throws {
        let place = try await Place(engine)
        try await place.with { storage in
            let event = makeEvent()
            try await storage.events.close(closed(event))
            storage.events.open(event)
            let error = await #expect(throws: DatabaseError.self) {
                try await storage.events.opened(event.id)
            }
            #expect(error?.kind == .uniqueViolation)
            await #expect(throws: DatabaseError.self) {
                try await storage.events.opened(event.id)
            }
        }
    }

    @Test func `recorded rows are written, and dropped beyond the bound`() async throws {
        let place = try Place()
        try await place.with { storage in
            storage.events.record(closed(makeEvent()))
            try await eventually {
                try await storage.number("SELECT COUNT(*) AS number FROM events") == 1
            }
            let obstacle = try Obstacle(place)
            async let blocked: Void = storage.events.close(closed(makeEvent()))
            defer { obstacle.remove() }
            try await obstacle.isMet()
            for _ in 0..<10_500 { storage.events.record(closed(makeEvent())) }
            obstacle.remove()
            try await blocked
            try await eventually { storage.events.waitingRows == 0 }
            try await storage.events.close(closed(makeEvent()))
            #expect(try await storage.number("SELECT COUNT(*) AS number FROM events") == 10_003)
        }
    }

    @Test(arguments: Engine.allCases)
    func `rows that are queued when the storage closes are committed`(
        on engine: Engine
    ) async throws {
        let place = try await Place(engine)
        let storage = try await place.open()
        for _ in 0..<50 {
            storage.events.open(makeEvent())
            storage.events.record(closed(makeEvent()))
        }
        await storage.close()
        try await place.with { storage in
            let count = try await storage.number("SELECT COUNT(*) AS number FROM events")
            #expect(count == 100)
        }
    }

    @Test(arguments: Engine.allCases)
    func `rows of two writers on one file all arrive and are seen by both`(
        on engine: Engine
    ) async throws {
        let place = try await Place(engine)
        let storages = [try await place.open(), try await place.open()]
        for result in await concurrently(
            32,
            { index in
                for _ in 0..<50 {
                    try await storages[index % 2].events.close(closed(makeEvent()))
                }
            })
        {
            try result.get()
        }
        for storage in storages {
            #expect(try await storage.number("SELECT COUNT(*) AS number FROM events") == 1600)
        }
        for storage in storages { await storage.close() }
    }
}
