internal import ProxyGPT
internal import TestSupport
internal import Testing

@testable internal import SQLStorage

@Suite struct ProcessLeaseTests {
    private func processes(_ storage: SQLStorage) async throws -> [String] {
        try await storage.database.query("SELECT id FROM processes ORDER BY id")
            .map { try $0.text("id") }
    }

    @Test(arguments: Engine.allCases)
    func `a process is in the table from start to stop`(
        on engine: Engine
    ) async throws {
        let place = try await Place(engine)
        let storage = try await place.open(process: "one")
        try await storage.lease.start()
        #expect(try await processes(storage) == ["one"])
        await storage.lease.stop()
        #expect(try await processes(storage).isEmpty)
        await storage.close()
    }

    @Test(arguments: Engine.allCases)
    func `open rows of a dead process are closed, those of a living one are not`(
        on engine: Engine
    )
        async throws
    {
        let place = try await Place(engine)
        let deadClock = TestClock()
        let clock = TestClock()
        let dead = try await place.open(clock: deadClock, process: "dead")
        let living = try await place.open(clock: clock, process: "living")
        for storage in [dead, living] { try await storage.lease.start() }
        let lost = makeEvent()
        let held = makeEvent()
        dead.events.open(lost)
        living.events.open(held)
        try await dead.events.opened(lost.id)
        try await living.events.opened(held.id)

        clock.advance(seconds: 15)
        try await living.lease.renew()
        #expect(try await processes(living) == ["dead", "living"], "15 s are not over")
        clock.advance(seconds: 1)
        try await living.lease.renew()
        #expect(try await processes(living) == ["living"])
        #expect(try await living.event(lost.id)?.text("end") == "error")
        #expect(try await living.event(held.id)?.optionalText("end") == nil)

        await #expect(throws: DatabaseError.self) { try await dead.events.close(closed(lost)) }
        deadClock.advance(seconds: 16)
        try await dead.lease.renew()
        #expect(try await processes(living) == ["dead", "living"], "it was only paused")
        for storage in [dead, living] { await storage.close() }
    }

    @Test(arguments: Engine.allCases)
    func `a process that was late itself reaps no process before the next renewal`(
        on engine: Engine
    ) async throws {
        let place = try await Place(engine)
        let clock = TestClock()
        let other = try await place.open(process: "other")
        let storage = try await place.open(clock: clock, process: "one")
        try await other.lease.start()
        try await storage.lease.start()
        clock.advance(seconds: 3600)
        try await storage.lease.renew()
        #expect(try await processes(storage) == ["one", "other"])
        clock.advance(seconds: 5)
        try await storage.lease.renew()
        #expect(try await processes(storage) == ["one"])
        for storage in [other, storage] { await storage.close() }
    }

    @Test(arguments: Engine.allCases)
    func `rows left open by a process that stopped are closed by the next`(
        on engine: Engine
    ) async throws {
        let place = try await Place(engine)
        let first = try await place.open()
        try await first.lease.start()
        let event = makeEvent()
        first.events.open(event)
        await first.close()
        try await place.with { storage in
            try await storage.lease.start()
            #expect(try await storage.event(event.id)?.text("end") == "error")
        }
    }

    @Test(arguments: Engine.allCases)
    func `bodies go after their days, events stay`(
        on engine: Engine
    ) async throws {
        let place = try await Place(engine)
        let clock = TestClock()
        try await place.with(clock: clock) { storage in
            func body(daysAgo: Int64) async throws -> Event.ID {
                let id = UUIDText.version7(
                    milliseconds: now.adding(seconds: -daysAgo * 86_400).milliseconds, counter: 1,
                    random: 1)
                var event = Event(id: Event.ID(id), timestamp: now, kind: .forward)
                event.requestBody = [1]
                event.end = .done
                try await storage.events.close(event)
                return event.id
            }
            let old = try await body(daysAgo: 31)
            let young = try await body(daysAgo: 29)
            for _ in 0..<250 {
                var event = closed(makeEvent())
                event.responseBody = [1]
                try await storage.events.close(event)
            }
            while try await !storage.lease.expire() {}
            let rows = try await storage.database.query(
                "SELECT id FROM event_bodies ORDER BY id LIMIT 1")
            #expect(try rows.map { try $0.text("id") } == [young.text])
            #expect(try await storage.event(old) != nil)

            clock.advance(seconds: 31 * 86_400)
            while try await !storage.lease.expire() {}
            #expect(try await storage.number("SELECT COUNT(*) AS number FROM event_bodies") == 0)
            #expect(try await storage.number("SELECT COUNT(*) AS number FROM events") == 252)
        }
    }

    @Test(arguments: Engine.allCases)
    func `expired sessions go, living ones stay`(
        on engine: Engine
    ) async throws {
        let place = try await Place(engine)
        let clock = TestClock()
        try await place.with(clock: clock) { storage in
            let (user, long) = try await storage.addUser("asim")
            for _ in 0..<250 {
                _ = try await storage.store.add(
                    makeSession(of: user.id, days: 1), ifPasswordHashIs: "hash of asim")
            }
            clock.advance(seconds: 86_400)
            while try await !storage.lease.expire() {}
            #expect(try await storage.number("SELECT COUNT(*) AS number FROM sessions") == 1)
            #expect(
                try await storage.store.caller(tokenDigest: long.tokenDigest, now: clock.now())
                    != nil)
        }
    }
}
