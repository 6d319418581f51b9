package import EventLoop
internal import Logging
package import ProxyGPT

/// Shows that this process lives, and clears up after those that do not.
///
/// A process beats every 5 s and counts as dead after 15 s without, which others see within a
/// second. Started before the first event is written: open rows of a process without a row of its
/// own are closed by others.
@EventLoop package final class ProcessLease {
    /// From one beat to the next.
    package nonisolated static let interval: Int64 = 5000
    /// From one look for dead processes to the next.
    private nonisolated static let lookInterval: Int64 = 1000
    /// Milliseconds without a beat after which a process is taken for dead.
    package nonisolated static let lifetime: Int64 = 15_000

    /// Milliseconds between the clocks of host and database from which a warning tells of them.
    private nonisolated static let clockTolerance: Int64 = 5000

    /// A jump of the clock in milliseconds, and microseconds for which nothing is deleted after it.
    nonisolated static let day: Int64 = 86_400_000
    private nonisolated static let holdTime: Int64 = 3_600_000_000

    package nonisolated let process: ProcessIdentity
    let database: any Database
    let clock: any Clock
    let eventDays: Int64
    let logger: Logger
    /// False in tests, whose clocks stand and are moved by hand.
    private let beatsByItself: Bool
    /// Told of replies that were closed in the place of a dead process, and of those that it had
    /// ended so shortly before that nobody may have heard of it; set before `start`.
    package var replyWasClosed: (@EventLoop (Message) -> Void)?
    private var lastBeat: Timestamp?
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

    private func fail(_ error: any Error) {
        if isBeating {
            logger.error("heartbeat failed", metadata: ["storage.error": "\(error)"])
        }
        isBeating = false
    }

    private var moment: SQL { database.dialect.moment(clock.now()) }

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
                    "UPDATE processes SET heartbeat = \(moment) WHERE id = \(id)")
            }
            lastWrite = monotonicMilliseconds()
        } catch {
            fail(error)
        }
    }

    /// How many homes have processes that beat: hosts, and containers of one.
    func hostCount() async throws -> Int {
        try await database.query(
            """
            SELECT DISTINCT host, boot_id FROM processes
            WHERE heartbeat >= \(moment) - \(Self.lifetime)
            """
        ).count
    }

    /// Whether a process has not beaten for so long that what it left is to be closed.
    private func somebodyIsDead() async throws -> Bool {
        try await !database.query(
            "SELECT id FROM processes WHERE heartbeat < \(moment) - \(Self.lifetime) LIMIT 1"
        ).isEmpty
    }

    /// Writes one heartbeat and, unless this process itself was late, buries the dead.
    func beat() async throws {
        let moment = moment
        let process = process
        let lastBeat = lastBeat
        let times = (now: clock.now(), monotonic: clock.monotonicMicroseconds())
        noteJump(times)
        let hasSettled = database.dialect.hasSettled
        let (now, closed) = try await database.transaction { transaction in
            let rows = try await transaction.query(
                """
                INSERT INTO processes (id, host, boot_id, heartbeat)
                VALUES (\(process.id), \(process.host), \(process.home), \(moment))
                ON CONFLICT (id) DO UPDATE SET heartbeat = excluded.heartbeat
                RETURNING heartbeat
                """)
            guard let now = try rows.first?.timestamp("heartbeat") else {
                throw DatabaseError(.other, "there is no heartbeat", during: "beat")
            }
            // After a suspended host or a jump of the clock all look dead, until they have beaten too.
            if let lastBeat, now.milliseconds - lastBeat.milliseconds > Self.lifetime {
                return (now, Closed())
            }
            let closed = try await transaction.buryDeadProcesses(
                oldest: Timestamp(milliseconds: now.milliseconds &- Self.lifetime), now: now,
                if: hasSettled)
            return (now, closed)
        }
        self.lastBeat = now
        isBeating = true
        compareClocks(times.now, now, spent: clock.monotonicMicroseconds() - times.monotonic)
        lastWrite = monotonicMilliseconds()
        for message in closed.messages { replyWasClosed?(message) }
        let told = Set(closed.messages.map(\.id))
        for dead in closed.processes { await tellLastEnds(of: dead, but: told, now: now) }
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
        if jump > Self.day { hold(jump) }
    }

    func hold(_ jump: Int64) {
        holdsUntil = clock.monotonicMicroseconds() &+ Self.holdTime
        logger.warning(
            "the clock has jumped forward: nothing is deleted for an hour",
            metadata: ["clock.jump_seconds": "\(jump / 1000)"])
    }

    /// Keeps how far this host's clock is from the database's, which was read at some moment between
    /// `before` and `spent` microseconds later.
    private func compareClocks(_ before: Timestamp, _ database: Timestamp, spent: Int64) {
        guard self.database.dialect.clock != nil else { return }
        let early = before.milliseconds &- database.milliseconds
        let late = early &+ spent / 1000
        let lead = early > 0 ? early : min(late, 0)
        let wasFar = abs(clockLead) > Self.clockTolerance
        clockLead = lead
        if abs(lead) > Self.clockTolerance, !wasFar {
            logger.warning(
                "this host's clock is not the database's",
                metadata: ["clock.ahead_ms": "\(lead)"])
        }
    }

    /// A process ends a message in the store first and on the bus after that: one that was killed in
    /// between has told nobody. The bus passes over what it has already.
    private func tellLastEnds(of dead: DeadProcess, but told: Set<Message.ID>, now: Timestamp) async
    {
        func id(_ ago: Int64) -> String {
            UUIDText.version7(
                milliseconds: now.milliseconds - ago, counter: 0, random: 0)
        }
        // Ids say when a message began; in steps, so that no reading takes long.
        let step: Int64 = 300_000
        // Where the heartbeat is by the database's clock, that of the dead may have been another.
        let margin: Int64 = database.dialect.clock == nil ? 1000 : 60_000
        let since = Timestamp(milliseconds: dead.heartbeat - margin)
        do {
            for ago in stride(from: BusStatements.patience, through: 0, by: -Int(step)) {
                let rows = try await database.query(
                    """
                    SELECT \(unsafe: Message.columns) FROM messages
                    WHERE id >= \(id(ago)) AND id < \(id(ago - step)) AND process = \(dead.id)
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

/// A process that was taken off the table, and when it showed last that it lived.
struct DeadProcess: Sendable {
    let id: String
    let heartbeat: Int64
}

/// What was closed in the place of the dead.
struct Closed: Sendable {
    var processes: [DeadProcess] = []
    var events = 0
    var messages: [Message] = []
}

extension Transaction {
    /// Takes processes without a beat since `oldest` off the table, and closes what they left open.
    func buryDeadProcesses(
        oldest: Timestamp, now: Timestamp, if hasSettled: String
    ) async throws -> Closed {
        let dead = try await query(
            """
            DELETE FROM processes WHERE heartbeat < \(oldest) AND \(unsafe: hasSettled)
            RETURNING id, heartbeat
            """
        ).map { DeadProcess(id: try $0.text("id"), heartbeat: try $0.integer("heartbeat")) }
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
        return Closed(processes: dead, events: events, messages: messages)
    }
}
