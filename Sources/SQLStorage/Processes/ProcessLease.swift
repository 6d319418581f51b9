package import EventLoop
internal import Logging
package import ProxyGPT

/// Shows that this process lives, and clears up after those that do not.
///
/// A process beats every 5 s and counts as dead after 15 s without, which others see within a
/// second; `ProcessWatch` says by which clock. Started before the first event is written: open rows of
/// a process without a row of its own are closed by others.
@EventLoop package final class ProcessLease {
    /// From one beat to the next.
    package nonisolated static let interval: Int64 = 5000
    /// From one look for dead processes to the next.
    private nonisolated static let lookInterval: Int64 = 1000
    /// Milliseconds without a beat after which a process is taken for dead.
    package nonisolated static let lifetime: Int64 = 15_000

    /// Microseconds for which nothing is deleted after a jump of the clock of more than a day.
    private nonisolated static let holdTime: Int64 = 3_600_000_000

    package nonisolated let process: ProcessIdentity
    let database: any Database
    nonisolated let clock: any Clock
    let eventDays: Int64
    let logger: Logger
    /// False in tests, whose clocks stand and are moved by hand.
    private let beatsByItself: Bool
    /// Told of replies that were closed in the place of a dead process, and of those that it had
    /// ended so shortly before that nobody may have heard of it; set before `start`.
    package var replyWasClosed: (@EventLoop (Message) -> Void)?
    /// Whose log is to be as old as the database; set before `start`.
    package var bus: (any Bus)?
    /// What `compareAges` has counted last, and the log's epoch then.
    var lastAge: (count: Int64, epoch: String)?
    private var comparing: Task<Void, Never>?
    private var lastBeat: (moment: Timestamp, uptime: Int64)?
    private var watch: ProcessWatch
    /// Milliseconds that this host's clock is ahead of the database's, as the last beat has found.
    package private(set) var clockLead: Int64 = 0
    /// Until when nothing is deleted, by `monotonicMicroseconds`; nil before anybody looked.
    var holdsUntil: Int64?
    /// This host's clocks at the last beat.
    private var lastTimes: (now: Timestamp, monotonic: Int64)?
    /// The moment of `monotonicMilliseconds` at which the last sign of life was committed.
    private var lastWrite: Int64 = 0
    private var probe: Task<Void, Never>?
    private var beats: Task<Void, Never>?
    private var isStarted = false
    /// Whether the last sign of life could be written.
    package private(set) var isBeating = false

    nonisolated init(
        _ process: ProcessIdentity, database: any Database, clock: any Clock, eventDays: Int64,
        logger: Logger, beatsByItself: Bool = true
    ) {
        self.beatsByItself = beatsByItself
        self.process = process
        watch = ProcessWatch(process)
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
        isBeating = true
        await compareAges()
        guard isStarted, beatsByItself else { return }
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
        var looks: Int64 = 0
        while true {
            await EventLoop.sleep(milliseconds: Self.lookInterval)
            guard isStarted else { return }
            looks += 1
            for word in UnknownWords.shared.take() {
                logger.warning(
                    "a column holds a word that this release does not know",
                    metadata: ["storage.value": "\(word)"])
            }
            do {
                if looks % (Self.interval / Self.lookInterval) == 0 {
                    try await beat()
                    compareAgesBesides()
                    await cleanUp()
                } else {
                    // A beat that was missed is made up for at the next look: others wait 15 s.
                    var mustBeat = !isBeating
                    if !mustBeat { mustBeat = try await somebodyIsDead() }
                    if mustBeat { try await beat() }
                }
            } catch {
                fail(error)
            }
        }
    }

    /// The next beat must not wait for the bus.
    private func compareAgesBesides() {
        guard bus != nil, comparing == nil else { return }
        comparing = EventLoop.spawn {
            await self.compareAges()
            self.comparing = nil
        }
    }

    private func fail(_ error: any Error) {
        if isBeating {
            logger.error("heartbeat failed", metadata: ["storage.error": "\(error)"])
        }
        isBeating = false
    }

    private var moment: SQL { database.dialect.moment(clock.now()) }

    /// Milliseconds of the host's monotonic clock.
    private nonisolated var uptime: Int64 { clock.monotonicMicroseconds() / 1000 }

    /// Whether this process can write just now: by its last sign of life, or by another where that is
    /// not of this second. Whoever asks meanwhile shares the answer.
    func canWrite() async -> Bool {
        guard isBeating else { return false }
        if monotonicMilliseconds() &- lastWrite < Self.lookInterval { return true }
        let probe = probe ?? EventLoop.spawn { await self.writeSign() }
        self.probe = probe
        await probe.value
        return isBeating
    }

    private func writeSign() async {
        defer { probe = nil }
        let (id, moment) = (process.id, moment)
        do {
            _ = try await database.transaction { transaction in
                try await transaction.execute(
                    """
                    UPDATE processes SET heartbeat = \(moment), uptime = \(self.uptime)
                    WHERE id = \(id)
                    """)
            }
            lastWrite = monotonicMilliseconds()
        } catch {
            fail(error)
        }
    }

    /// The processes that are alive.
    func livingProcesses() async throws -> [ProcessRecord] {
        let (records, now) = try await registeredProcesses()
        let uptime = uptime
        return records.filter { watch.isAlive($0, now: now, uptime: uptime) }
    }

    private func registeredProcesses() async throws -> ([ProcessRecord], Timestamp) {
        let rows = try await database.query(
            "SELECT \(unsafe: ProcessRecord.columns), \(moment) AS moment FROM processes ORDER BY id"
        )
        let now = try rows.first?.timestamp("moment") ?? clock.now()
        return (try rows.map(ProcessRecord.init(row:)), now)
    }

    /// Whether a process has not beaten for so long that what it left is to be closed.
    private func somebodyIsDead() async throws -> Bool {
        let (records, now) = try await registeredProcesses()
        let uptime = uptime
        watch.observe(records, now: now, uptime: uptime)
        return records.contains { !watch.isAlive($0, now: now, uptime: uptime) }
    }

    /// Writes one heartbeat and, unless this process itself was late, buries the dead.
    func beat() async throws {
        let moment = moment
        let process = process
        let (lastBeat, watch) = (lastBeat, watch)
        let times = (now: clock.now(), monotonic: clock.monotonicMicroseconds())
        noteJump(times)
        let hasSettled = database.dialect.hasSettled
        let (now, uptime, records, closed) = try await database.transaction { transaction in
            // Read when its turn has come: it may have waited for long.
            let uptime = self.uptime
            let rows = try await transaction.query(
                """
                INSERT INTO processes (id, host, machine_id, boot_id, heartbeat, uptime)
                VALUES (\(process.id), \(process.host), \(process.machine), \(process.home),
                    \(moment), \(uptime))
                ON CONFLICT (id) DO UPDATE SET
                    heartbeat = excluded.heartbeat, uptime = excluded.uptime
                RETURNING heartbeat
                """)
            guard let now = try rows.first?.timestamp("heartbeat") else {
                throw DatabaseError(.other, "there is no heartbeat", during: "beat")
            }
            let records = try await transaction.query(
                "SELECT \(unsafe: ProcessRecord.columns) FROM processes"
            ).map(ProcessRecord.init(row:))
            // After a suspended host or a jump of the clock all look dead, until they have beaten too.
            if let lastBeat,
                now.milliseconds &- lastBeat.moment.milliseconds > Self.lifetime
                    || uptime &- lastBeat.uptime > Self.lifetime
            {
                return (now, uptime, records, Closed())
            }
            let dead = records.filter { !watch.isAlive($0, now: now, uptime: uptime) }
            let closed = try await transaction.buryDeadProcesses(dead, now: now, if: hasSettled)
            return (now, uptime, records, closed)
        }
        self.lastBeat = (now, uptime)
        self.watch.observe(records, now: now, uptime: uptime)
        isBeating = true
        compareClocks(times.now, now, spent: clock.monotonicMicroseconds() &- times.monotonic)
        lastWrite = monotonicMilliseconds()
        for message in closed.messages { replyWasClosed?(message) }
        let told = Set(closed.messages.map(\.id))
        for dead in closed.processes { await tellLastEnds(of: dead, but: told) }
        if closed.events > 0 || !closed.messages.isEmpty {
            logger.notice(
                "rows of dead processes closed",
                metadata: [
                    "events.count": "\(closed.events)",
                    "messages.count": "\(closed.messages.count)",
                ])
        }
    }

    /// A clock that was set forward by more than a day makes everything old at once: nothing is deleted
    /// before somebody had the time to see that.
    private func noteJump(_ times: (now: Timestamp, monotonic: Int64)) {
        defer { lastTimes = times }
        guard !database.dialect.hasServer, let lastTimes else { return }
        let jump =
            (times.now.milliseconds &- lastTimes.now.milliseconds)
            &- (times.monotonic &- lastTimes.monotonic) / 1000
        if jump > Timestamp.dayLength { hold(jump) }
    }

    func hold(_ jump: Int64) {
        holdsUntil = clock.monotonicMicroseconds() &+ Self.holdTime
        logger.warning(
            "the clock has jumped forward: nothing is deleted for an hour",
            metadata: ["clock.jump_seconds": "\(jump / 1000)"])
    }

    /// Keeps how far this host's clock is from the database's, which was read at some moment between
    /// `before` and `spent` microseconds later.
    private func compareClocks(_ before: Timestamp, _ moment: Timestamp, spent: Int64) {
        guard database.dialect.clock != nil else { return }
        let lead = Self.lead(before, moment, spent: spent)
        let wasFar = abs(clockLead) > ClockTolerance.warning
        clockLead = lead
        if abs(lead) > ClockTolerance.warning, !wasFar {
            logger.warning(
                "this host's clock is not the database's",
                metadata: ["clock.ahead_ms": "\(lead)"])
        }
    }

    /// How far the host's clock is ahead at least, in milliseconds.
    private nonisolated static func lead(
        _ before: Timestamp, _ moment: Timestamp, spent: Int64
    ) -> Int64 {
        let early = before.milliseconds &- moment.milliseconds
        return early > 0 ? early : min(early &+ spent / 1000, 0)
    }

    /// Milliseconds that this host's clock is ahead of the database's, measured now; nil where that is its
    /// own.
    func measureClockLead() async throws -> Int64? {
        guard database.dialect.clock != nil else { return nil }
        let times = (now: clock.now(), monotonic: clock.monotonicMicroseconds())
        let moment = try await database.currentTime(times.now)
        return Self.lead(
            times.now, moment, spent: clock.monotonicMicroseconds() &- times.monotonic)
    }

    /// A process ends a message in the store first and on the bus after that: one that was killed in
    /// between has told nobody. The bus passes over what it has already.
    private func tellLastEnds(of dead: ProcessRecord, but told: Set<Message.ID>) async {
        let heartbeat = dead.heartbeat.milliseconds
        func id(_ offset: Int64) -> String {
            UUIDText.version7(
                milliseconds: max(0, heartbeat &+ offset), counter: 0, random: 0)
        }
        // Ids say when a message began, by a clock that may have been set meanwhile; in steps, so that no
        // reading takes long.
        let step: Int64 = 300_000
        // Where the heartbeat is by the database's clock, that of the dead may have been another.
        let margin: Int64 = database.dialect.clock == nil ? 1000 : 60_000
        let since = Timestamp(milliseconds: heartbeat &- margin)
        do {
            for offset in stride(
                from: -BusStatements.patience, to: BusStatements.patience, by: Int(step))
            {
                let rows = try await database.query(
                    """
                    SELECT \(unsafe: Message.columns) FROM messages
                    WHERE id >= \(id(offset)) AND id < \(id(offset + step)) AND process = \(dead.id)
                        AND state NOT IN ('pending', 'streaming') AND updated_at >= \(since)
                    """)
                for message in try rows.map(Message.init(row:)) where !told.contains(message.id) {
                    replyWasClosed?(message)
                }
            }
        } catch {
            logger.error("last ends not read", metadata: ["storage.error": "\(error)"])
        }
    }
}

/// What was closed in the place of the dead.
struct Closed: Sendable {
    var processes: [ProcessRecord] = []
    var events = 0
    var messages: [Message] = []
}

extension Transaction {
    /// Takes dead processes off the table, unless they have beaten meanwhile, and closes what is nobody's.
    func buryDeadProcesses(
        _ dead: [ProcessRecord], now: Timestamp, if hasSettled: String
    ) async throws -> Closed {
        var buried: [ProcessRecord] = []
        // What lies beyond was cut down when it was read, and is no clock's.
        let limit = Row.integerLimit - 1
        for process in dead {
            let count = try await execute(
                """
                DELETE FROM processes WHERE id = \(process.id) AND \(unsafe: hasSettled)
                    AND (heartbeat = \(process.heartbeat)
                        OR heartbeat NOT BETWEEN \(-limit) AND \(limit))
                """)
            if count > 0 { buried.append(process) }
        }
        let events = try await execute(
            """
            UPDATE events SET "end" = \(Event.End.error.rawValue)
            WHERE "end" IS NULL AND process NOT IN (SELECT id FROM processes)
            """)
        let failure = ReplyFailure(.unavailable, "The process that ran the reply has died.")
        let messages = try await query(
            """
            UPDATE messages SET state = \(Message.State.failed.rawValue),
                error = \(failure.text), updated_at = \(now)
            WHERE state IN ('pending', 'streaming')
                AND process NOT IN (SELECT id FROM processes)
            RETURNING \(unsafe: Message.columns)
            """
        ).map(Message.init(row:))
        for chat in Set(messages.map(\.chatID)) { _ = try await countContextVersion(of: chat) }
        return Closed(processes: buried, events: events, messages: messages)
    }
}
