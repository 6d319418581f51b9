internal import EventLoop
internal import Glibc
internal import Logging
internal import ProxyGPT
internal import Synchronization
internal import TestSupport
internal import Testing

@testable internal import SQLStorage

/// The fate of waiting tasks when the server, or the way to it, fails.
@Suite struct PostgresFaultTests {
    private func isUnavailable(_ error: any Error) -> Bool {
        (error as? Failure)?.code == .unavailable
    }

    @Test func `connections that the server ends are replaced, and no caller notices`() async throws
    {
        let place = try await Place(empty: .postgreSQL)
        try await place.with { storage in
            let (cluster, name) = try #require(place.database)
            let user = try await storage.addUser("asim").user
            for _ in 0..<5 {
                // Not those that are only being opened: a server that ends them is one that goes.
                try await cluster.run(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                        + "WHERE datname = '\(name)' AND state = 'idle' AND query <> '' "
                        + "AND query !~ 'set_config|pg_is_in_recovery|max_connections'")
                #expect(try await storage.store.login(id: user.id)?.user == user)
                try await storage.events.close(closed(makeEvent()))
                try await storage.store.create(makeChat(of: user.id))
            }
            #expect(try await storage.number("SELECT COUNT(*) AS number FROM chats") == 5)
            #expect(try await storage.number("SELECT COUNT(*) AS number FROM events") == 5)
        }
    }

    @Test func `a server that is away is reported at once, and found again by itself`()
        async throws
    {
        let cluster = try Cluster()
        let place = try await Place(on: cluster)
        try await place.with { storage in
            let user = try await storage.addUser("asim").user
            try await cluster.command("stop")
            try await eventually { await self.refuses { try await storage.addUser("other") } }

            let event = makeEvent()
            try await onLoop {
                let start = monotonicMilliseconds()
                storage.events.open(event)
                await #expect(throws: (any Error).self) {
                    try await storage.events.opened(event.id)
                }
                await #expect(throws: (any Error).self) {
                    try await storage.events.close(closed(makeEvent()))
                }
                #expect(await self.refuses { try await storage.store.login(id: user.id) })
                #expect(await self.refuses { try await storage.addUser("third") })
                #expect(monotonicMilliseconds() - start < 10_000)
            }

            try await cluster.command("start")
            try await eventually {
                await !self.refuses { try await storage.store.login(id: user.id) }
            }
            _ = try await storage.addUser("fourth")
            try await storage.events.close(closed(event))
            #expect(try await storage.event(event.id)?.text("end") == "done")
        }
    }

    private func refuses<T: Sendable>(_ body: () async throws -> T) async -> Bool {
        do {
            _ = try await body()
            return false
        } catch {
            return isUnavailable(error)
        }
    }

    @Test func `every acknowledged row outlives a crash of the server`() async throws {
        let cluster = try Cluster("fsync=on")
        let place = try await Place(on: cluster)
        try await place.with { storage in
            let acknowledged = Mutex<[Event.ID]>([])
            let isOver = Atomic(false)
            async let load = concurrently(16) { index in
                while !isOver.load(ordering: .sequentiallyConsistent) {
                    let event = makeEvent()
                    do {
                        if index % 2 == 0 {
                            storage.events.open(event)
                            try await storage.events.opened(event.id)
                        }
                        try await storage.events.close(closed(event))
                        acknowledged.withLock { $0.append(event.id) }
                    } catch {
                        await EventLoop.sleep(milliseconds: 5)
                    }
                }
            }
            // Whatever fails here: the load is waited for.
            defer { isOver.store(true, ordering: .sequentiallyConsistent) }
            for goal in [300, 600, 900] {
                try await eventually { acknowledged.withLock { $0.count } >= goal }
                try await cluster.command("restart")
            }
            let before = acknowledged.withLock { $0.count }
            try await eventually { acknowledged.withLock { $0.count } >= before + 300 }
            isOver.store(true, ordering: .sequentiallyConsistent)
            for result in await load { try result.get() }
            let rows = try await storage.database.query(
                "SELECT id FROM events WHERE \"end\" = 'done'")
            let stored = Set(try rows.map { try $0.text("id") })
            #expect(acknowledged.withLock { $0.filter { !stored.contains($0.text) } }.isEmpty)
        }
    }

    @Test func `a statement that takes too long ends, and its connection goes on`() async throws {
        let place = try await Place(empty: .postgreSQL)
        var configuration = try place.configuration(size: 2)
        configuration.statementLimit = 2_000
        try await place.with(configuration) { storage in
            #expect(await refuses { try await storage.database.query("SELECT pg_sleep(5)") })
            #expect(
                await refuses {
                    try await storage.database.transaction {
                        try await $0.query("SELECT pg_sleep(5)")
                    }
                })
            let one = try await storage.number("SELECT 1 AS number")
            #expect(one == 1)
        }
    }

    @Test func `a transaction that lies idle holds its locks no longer than it may`() async throws {
        let place = try await Place(empty: .postgreSQL)
        var configuration = try place.configuration(size: 2)
        configuration.idleLimit = 2_000
        // On the loop, or the others could be that late, too.
        let storage = try await onLoop { [configuration] in try await place.open(configuration) }
        let lock: SQL = "SELECT 1 AS one FROM pg_advisory_xact_lock(1)"
        let runs = Atomic(0)
        let (isHeld, isFree) = (Gate(), Gate())
        let results = await concurrently(2) { number in
            if number == 0 {
                try await storage.database.transaction { transaction in
                    let run = runs.add(1, ordering: .sequentiallyConsistent).newValue
                    _ = try await transaction.query(lock)
                    isHeld.open()
                    if run > 1 { return }
                    await isFree.wait()
                    _ = try await transaction.query("SELECT 1")
                }
            } else {
                defer { isFree.open() }
                await isHeld.wait()
                try await storage.database.transaction { _ = try await $0.query(lock) }
            }
        }
        await storage.close()
        for result in results { try result.get() }
        #expect(runs.load(ordering: .sequentiallyConsistent) == 2, "it was lost, and run again")
    }

    @Test func `a server that falls silent is given up, and another connection taken`()
        async throws
    {
        let place = try await Place(empty: .postgreSQL)
        var configuration = try place.configuration(size: 2)
        configuration.statementLimit = 2_000
        configuration.answerGrace = 1_000
        let stopped = Atomic<pid_t>(0)
        // Others use this server, too.
        defer {
            let process = stopped.load(ordering: .sequentiallyConsistent)
            if process > 0 { kill(process, SIGCONT) }
        }
        try await place.with(configuration) { storage in
            let process = try await storage.database.transaction { transaction in
                let rows = try await transaction.query("SELECT pg_backend_pid() AS pid")
                let process = pid_t(try rows.first?.integer("pid") ?? 0)
                guard process > 0, kill(process, SIGSTOP) == 0 else { throw SystemError("kill") }
                stopped.store(process, ordering: .sequentiallyConsistent)
                return process
            }
            // The commit was not answered, so nothing was returned.
            Issue.record("\(process) went on")
        } refused: { error in
            #expect(isUnavailable(error))
        }
    }

    @Test func `a request without a free connection waits a while, and is refused`() async throws {
        let place = try await Place(empty: .postgreSQL)
        var configuration = try place.configuration(size: 2)
        configuration.waitLimit = 3_000
        configuration.queueLimit = 20
        try await place.with(configuration) { storage in
            let held = Atomic(0)
            let isOver = Atomic(false)
            async let holders = concurrently(2) { _ in
                try await storage.database.transaction { transaction in
                    _ = try await transaction.query("SELECT 1")
                    held.add(1, ordering: .sequentiallyConsistent)
                    while !isOver.load(ordering: .sequentiallyConsistent) {
                        _ = try await transaction.query("SELECT pg_sleep(0.01)")
                    }
                }
            }
            defer { isOver.store(true, ordering: .sequentiallyConsistent) }
            try await eventually { held.load(ordering: .sequentiallyConsistent) == 2 }
            let start = monotonicMilliseconds()
            let results = await concurrently(50) { _ in
                try await storage.database.query("SELECT 1")
            }
            for result in results {
                guard case .failure(let error) = result else {
                    Issue.record("somebody was served")
                    continue
                }
                #expect(isUnavailable(error))
            }
            #expect(monotonicMilliseconds() - start < 12_000)
            isOver.store(true, ordering: .sequentiallyConsistent)
            for result in await holders { try result.get() }
            let one = try await storage.number("SELECT 1 AS number")
            #expect(one == 1)
        }
    }

    @Test func `every acknowledged row outlives kill -9 of its process`() async throws {
        let place = try await Place(empty: .postgreSQL)
        let directory = place.directory
        let address = try place.configuration().address.revealed
        await #expect(processExitsWith: .signal(SIGKILL)) {
            [directory = directory as String, address = address as String] in
            _ = Loop.started
            let storage = try await SQLStorage.open(
                PostgresPool.Configuration(address: Secret(address), size: 3),
                process: ProcessIdentity(id: "victim", host: "host", bootID: "boot"),
                clock: TestClock(), identifiers: ids, logger: silent, tuning: SQLStorage.Tuning())
            try await storage.lease.start()
            await writeEventsUntilKilled(storage, acknowledging: directory + "/acknowledged")
        }
        let lines = try linesOfFile(directory + "/acknowledged")
        #expect(lines.count >= 700)
        try await place.with { storage in
            let rows = try await storage.database.query(
                "SELECT id FROM events WHERE \"end\" = 'done'")
            let stored = Set(try rows.map { try $0.text("id") })
            #expect(lines.allSatisfy { stored.contains($0) })
            // Its heartbeat is by the server's clock, and so of now.
            #expect(try await storage.number("SELECT COUNT(*) AS number FROM processes") == 1)
        }
    }
}
