package import EventLoop
internal import Logging
internal import ProxyGPT

/// Shows that this process lives, and clears up after those that do not.
///
/// A process beats every 5 s and counts as dead after 15 s without. Started before the first event
/// is written: open rows of a process without a row of its own are closed by others.
@EventLoop package final class ProcessLease {
    /// From one beat to the next.
    package nonisolated static let interval: Int64 = 5000
    /// Milliseconds without a beat after which a process is taken for dead.
    package nonisolated static let lifetime: Int64 = 15_000

    package nonisolated let process: ProcessIdentity
    private let database: any Database
    private let clock: any Clock
    private let eventDays: Int64
    private let logger: Logger
    private var lastBeat: Timestamp?
    private var beats: Task<Void, Never>?
    private var isStarted = false

    nonisolated init(
        _ process: ProcessIdentity, database: any Database, clock: any Clock, eventDays: Int64,
        logger: Logger
    ) {
        self.process = process
        self.database = database
        self.clock = clock
        self.eventDays = eventDays
        self.logger = logger
    }

    /// Registers the process, closes what dead ones left open and goes on beating.
    package func start() async throws {
        guard !isStarted else { return }
        isStarted = true
        do {
            try await beat()
        } catch {
            isStarted = false
            throw error
        }
        guard isStarted else { return }
        beats = EventLoop.spawn { await self.goOnBeating() }
    }

    /// Stops beating and takes the process from the table. No effect when it was never started.
    package func stop() async {
        guard isStarted else { return }
        isStarted = false
        beats?.cancel()
        // A beat under way would register the process anew.
        await beats?.value
        let id = process.id
        do {
            _ = try await database.transaction { transaction in
                try await transaction.execute("DELETE FROM processes WHERE id = \(id)")
            }
        } catch {
            logger.warning("process not unregistered", metadata: ["storage.error": "\(error)"])
        }
    }

    private func goOnBeating() async {
        while true {
            await EventLoop.sleep(milliseconds: Self.interval)
            guard isStarted else { return }
            do {
                try await beat()
                try await expire()
            } catch {
                logger.error("heartbeat failed", metadata: ["storage.error": "\(error)"])
            }
        }
    }

    /// Writes one heartbeat and, unless this process itself was late, buries the dead.
    func beat() async throws {
        let now = clock.now()
        // After a suspended host or a jump of the clock all look dead, until they have beaten too.
        let isLate = lastBeat.map { now.milliseconds - $0.milliseconds > Self.lifetime } ?? false
        let process = process
        let oldest = Timestamp(milliseconds: now.milliseconds &- Self.lifetime)
        let closed = try await database.transaction { transaction in
            try await transaction.execute(
                """
                INSERT INTO processes (id, host, boot_id, heartbeat)
                VALUES (\(process.id), \(process.host), \(process.bootID), \(now))
                ON CONFLICT (id) DO UPDATE SET heartbeat = excluded.heartbeat
                """)
            if isLate { return 0 }
            try await transaction.execute("DELETE FROM processes WHERE heartbeat < \(oldest)")
            return try await transaction.execute(
                """
                UPDATE events SET "end" = \(Event.End.error.rawValue)
                WHERE "end" IS NULL AND process NOT IN (SELECT id FROM processes)
                """)
        }
        lastBeat = now
        if closed > 0 {
            logger.notice(
                "events of dead processes closed", metadata: ["events.count": "\(closed)"])
        }
    }

    /// Deletes old bodies and expired sessions in small transactions, for a second at most.
    func expire() async throws {
        let now = clock.now()
        let oldest = UUIDText.version7(
            milliseconds: now.adding(seconds: -eventDays * 86_400).milliseconds,
            counter: 0, random: 0)
        try await deleteInBatches(
            """
            DELETE FROM event_bodies WHERE id IN (
                SELECT id FROM event_bodies WHERE id < \(oldest) ORDER BY id LIMIT 100)
            """)
        try await deleteInBatches(
            """
            DELETE FROM sessions WHERE id IN (
                SELECT id FROM sessions WHERE expires_at <= \(now) LIMIT 100)
            """)
    }

    private func deleteInBatches(_ sql: SQL) async throws {
        let start = clock.monotonicMicroseconds()
        for _ in 0..<200 {
            // A stop does not wait for the backlog.
            if Task.isCancelled { return }
            let count = try await database.transaction { transaction in
                try await transaction.execute(sql)
            }
            if count < 100 || clock.monotonicMicroseconds() - start > 1_000_000 { return }
        }
    }
}
