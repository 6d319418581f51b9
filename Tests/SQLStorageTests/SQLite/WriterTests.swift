internal import EventLoop
internal import Glibc
internal import ProxyGPT
internal import Synchronization
internal import TestSupport
internal import Testing

@testable internal import SQLStorage

@Suite struct WriterTests {
    // MARK: - The gate

    @Test func `commits and checkpoints of two writers never overlap`() async throws {
        let place = try Place()
        let inside = Atomic(0)
        let overlaps = Atomic(0)
        let checkpoints = Atomic(0)
        var tuning = SQLStorage.Tuning()
        tuning.checkpointPages = 10
        tuning.observe = { step in
            switch step {
            case .entered:
                if inside.add(1, ordering: .sequentiallyConsistent).newValue > 1 {
                    overlaps.add(1, ordering: .sequentiallyConsistent)
                }
            case .leaving:
                inside.subtract(1, ordering: .sequentiallyConsistent)
            case .checkpointing, .committing:
                if inside.load(ordering: .sequentiallyConsistent) != 1 {
                    overlaps.add(1, ordering: .sequentiallyConsistent)
                }
            case .checkpointed:
                checkpoints.add(1, ordering: .sequentiallyConsistent)
            case .committed: break
            }
        }
        let storages = [try await place.open(tuning: tuning), try await place.open(tuning: tuning)]
        for result in await concurrently(
            16,
            { index in
                for _ in 0..<100 {
                    try await storages[index % 2].events.close(closed(makeEvent()))
                }
            })
        {
            try result.get()
        }
        #expect(overlaps.load(ordering: .sequentiallyConsistent) == 0)
        #expect(checkpoints.load(ordering: .sequentiallyConsistent) > 0)
        #expect(try await storages[0].number("SELECT COUNT(*) AS number FROM events") == 1600)
        let check = try await storages[1].database.query("PRAGMA integrity_check")
        #expect(check.map(\.values) == [[.text("ok")]])
        for storage in storages { await storage.close() }
    }

    @Test func `a commit waits for the process in the gate`() async throws {
        let place = try Place()
        let steps = Steps()
        var tuning = SQLStorage.Tuning()
        tuning.observe = { steps.append($0) }
        try await place.with(tuning: tuning) { storage in
            let obstacle = try Obstacle(place)
            let event = makeEvent()
            async let close: Void = storage.events.close(closed(event))
            defer { obstacle.remove() }
            try await obstacle.isMet()
            #expect(steps.all.isEmpty)
            #expect(try await storage.event(event.id) == nil, "reads wait for nobody")
            obstacle.remove()
            try await close
            #expect(steps.count(of: .committed) == 1)
        }
    }

    @Test func `the WAL stays small under load from two writers`() async throws {
        let place = try Place()
        var tuning = SQLStorage.Tuning()
        tuning.checkpointPages = 50
        let storages = [try await place.open(tuning: tuning), try await place.open(tuning: tuning)]
        for result in await concurrently(
            16,
            { index in
                for _ in 0..<200 {
                    try await storages[index % 2].events.close(closed(makeEvent()))
                    _ = try await storages[index % 2].store.loginFailures(["a"], now: now)
                }
            })
        {
            try result.get()
        }
        // Some 50 pages, and what groups add before the next writer can start the WAL anew.
        #expect(place.size(of: "-wal") < 300 * 4120)
        for storage in storages { await storage.close() }
    }

    @Test func `few writes go round in a small WAL, a pause after many empties it`() async throws {
        let place = try Place()
        let checkpoints = Atomic(0)
        var tuning = SQLStorage.Tuning()
        tuning.renewsByItself = false
        tuning.observe = { step in
            if step == .checkpointed { checkpoints.add(1, ordering: .sequentiallyConsistent) }
        }
        try await place.with(tuning: tuning) { storage in
            for round in 1...4 {
                var event = closed(makeEvent())
                event.requestBody = [UInt8](repeating: 1, count: 150 * 4096)
                try await storage.events.close(event)
                try await eventually {
                    checkpoints.load(ordering: .sequentiallyConsistent) == round
                }
            }
            #expect((1..<300 * 4120).contains(place.size(of: "-wal")))
            var event = closed(makeEvent())
            event.requestBody = [UInt8](repeating: 1, count: 2000 * 4096)
            try await storage.events.close(event)
            try await eventually { place.size(of: "-wal") == 0 }
        }
    }

    @Test func `neither commits nor closing checkpoint by themselves`() async throws {
        let place = try Place()
        var tuning = SQLStorage.Tuning()
        tuning.idleCheckpointPages = .max
        let storage = try await place.open(tuning: tuning)
        let before = place.size(of: "")
        for result in await concurrently(
            16,
            { _ in
                for _ in 0..<50 {
                    var event = closed(makeEvent())
                    event.requestBody = [UInt8](repeating: 1, count: 8192)
                    try await storage.events.close(event)
                }
            })
        {
            try result.get()
        }
        await storage.close()
        #expect(place.size(of: "-wal") > 1500 * 4120, "far beyond SQLite's own 1000 pages")
        #expect(place.size(of: "") == before)
    }

    // MARK: - A full disk

    @Test func `a full disk fails the waiting writes, and room brings the writer back`()
        async throws
    {
        let place = try Place()
        try await place.with { storage in
            func limitPages(_ sql: SQL) async throws {
                _ = try await storage.database.transaction { try await $0.query(sql) }
            }
            try await storage.events.close(closed(makeEvent()))
            try await limitPages("PRAGMA max_page_count = 1")

            var written = 1
            var failure: (any Error)?
            while failure == nil, written < 1000 {
                do {
                    var event = closed(makeEvent())
                    event.requestBody = [UInt8](repeating: 1, count: 4096)
                    try await storage.events.close(event)
                    written += 1
                } catch {
                    failure = error
                }
            }
            let error = try #require(failure as? DatabaseError)
            #expect(error.kind == .full)
            #expect(error.description.contains("full"))

            var opened = makeEvent()
            opened.requestBody = [UInt8](repeating: 1, count: 65_536)
            storage.events.open(opened)
            let refusal = await #expect(throws: DatabaseError.self) {
                try await storage.events.opened(opened.id)
            }
            #expect(refusal?.kind == .full)
            #expect(
                try await storage.number("SELECT COUNT(*) AS number FROM events")
                    == Int64(written), "reads go on")

            try await limitPages("PRAGMA max_page_count = 1000000")
            try await storage.events.close(closed(opened))
            _ = try await storage.addUser("asim")
            #expect(
                try await storage.number("SELECT COUNT(*) AS number FROM events")
                    == Int64(written) + 1)
            #expect(storage.events.remembered == 0)
        }
    }

    // MARK: - Sudden death

    @Test func `every acknowledged row outlives kill -9`() async throws {
        let place = try Place()
        let directory = place.directory
        await #expect(processExitsWith: .signal(SIGKILL)) { [directory = directory as String] in
            _ = Loop.started
            let storage = try SQLStorage.open(
                file: directory + "/proxy.db",
                process: ProcessIdentity(id: "victim", host: "host", bootID: "boot"),
                clock: TestClock(), logger: silent)
            try await storage.lease.start()
            await writeEventsUntilKilled(storage, acknowledging: directory + "/acknowledged")
        }
        let lines = try linesOfFile(directory + "/acknowledged")
        #expect(lines.count >= 700)

        let clock = TestClock(now.milliseconds + 16_000)
        try await place.with(clock: clock) { storage in
            for id in lines {
                let row = try await storage.event(Event.ID(id))
                #expect(try row?.text("end") == "done", "\(id)")
            }
            try await storage.lease.start()
            #expect(
                try await storage.number(
                    "SELECT COUNT(*) AS number FROM events WHERE \"end\" IS NULL") == 0)
            let check = try await storage.database.query("PRAGMA integrity_check")
            #expect(check.map(\.values) == [[.text("ok")]])
        }
    }
}
