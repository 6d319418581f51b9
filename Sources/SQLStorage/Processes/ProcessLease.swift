package import EventLoop
internal import Logging
package import ProxyGPT

/// Shows that this process lives, and clears up after those that do not.
///
/// A process renews its lease every 5 s and counts as dead 15 s after the last renewal, which other
/// processes notice within a second; `ProcessWatch` decides by which clock. Started before the
/// first event is written: open rows of a process without a row of its own are closed by other
/// processes.
@EventLoop package final class ProcessLease {
    /// From one renewal to the next.
    package nonisolated static let interval: Int64 = 5000
    /// From one check for expired processes to the next.
    private nonisolated static let checkInterval: Int64 = 1000
    /// Milliseconds without a renewal after which a process counts as dead.
    package nonisolated static let lifetime: Int64 = 15_000

    package nonisolated let process: ProcessIdentity
    let database: any Database
    nonisolated let clock: any Clock
    let eventDays: Int64
    let logger: Logger
    /// False in tests, which move their clocks by hand.
    private let renewsByItself: Bool
    /// Called for replies that were closed in the place of a dead process, and for replies that it
    /// had ended so shortly before that their last frame may be missing; set before `start`.
    package var replyWasClosed: (@EventLoop (Message) -> Void)?
    /// The bus whose log must be as old as the database; set before `start`.
    package var bus: (any Bus)?
    /// The last count of `compareAges`, and the log's epoch then.
    var lastAge: (count: Int64, epoch: String)?
    private var comparing: Task<Void, Never>?
    private var lastRenewal: (moment: Timestamp, uptime: Int64)?
    private var watch: ProcessWatch
    /// Milliseconds that this host's clock is ahead of the database's, as of the last renewal.
    package internal(set) var clockLead: Int64 = 0
    /// Until when nothing is deleted, by `monotonicMicroseconds`; nil before the first check.
    var holdsUntil: Int64?
    /// This host's clocks at the last renewal.
    var lastTimes: (now: Timestamp, monotonic: Int64)?
    /// The moment of `monotonicMilliseconds` at which the last sign of life was committed.
    private var lastWrite: Int64 = 0
    private var probe: Task<Void, Never>?
    private var renewals: Task<Void, Never>?
    private var isStarted = false
    /// Whether the last sign of life could be written.
    package private(set) var isRenewed = false

    nonisolated init(
        _ process: ProcessIdentity, database: any Database, clock: any Clock, eventDays: Int64,
        logger: Logger, renewsByItself: Bool = true
    ) {
        self.renewsByItself = renewsByItself
        self.process = process
        watch = ProcessWatch(process)
        self.database = database
        self.clock = clock
        self.eventDays = eventDays
        self.logger = logger
    }

    /// Registers the process, closes the rows that dead processes left open, and goes on renewing.
    package func start() async throws {
        guard !isStarted else { return }
        isStarted = true
        do {
            try await renew()
        } catch {
            isStarted = false
            throw error
        }
        isRenewed = true
        await compareAges()
        guard isStarted, renewsByItself else { return }
        renewals = EventLoop.spawn { await self.keepRenewing() }
    }

    /// Stops beating and takes the process from the table. No effect when it was never started.
    package func stop() async {
        guard isStarted else { return }
        isStarted = false
        renewals?.cancel()
        // A renewal under way would register the process anew.
        await renewals?.value
        let id = process.id
        do {
            _ = try await database.transaction { transaction in
                try await transaction.execute("DELETE FROM processes WHERE id = \(id)")
            }
        } catch {
            logger.warning("process not unregistered", metadata: ["storage.error": "\(error)"])
        }
    }

    private func keepRenewing() async {
        var checks: Int64 = 0
        while true {
            await EventLoop.sleep(milliseconds: Self.checkInterval)
            guard isStarted else { return }
            checks += 1
            for word in UnknownWords.shared.take() {
                logger.warning(
                    "a column holds a word that this release does not know",
                    metadata: ["storage.value": "\(word)"])
            }
            do {
                if checks % (Self.interval / Self.checkInterval) == 0 {
                    try await renew()
                    startComparingAges()
                    await cleanUp()
                } else {
                    // A failed renewal is repeated at the next check: other processes wait 15 s.
                    var mustRenew = !isRenewed
                    if !mustRenew { mustRenew = try await hasExpiredProcess() }
                    if mustRenew { try await renew() }
                }
            } catch {
                fail(error)
            }
        }
    }

    /// The next renewal must not wait for the bus.
    private func startComparingAges() {
        guard bus != nil, comparing == nil else { return }
        comparing = EventLoop.spawn {
            await self.compareAges()
            self.comparing = nil
        }
    }

    private func fail(_ error: any Error) {
        if isRenewed {
            logger.error("heartbeat failed", metadata: ["storage.error": "\(error)"])
        }
        isRenewed = false
    }

    private var moment: SQL { database.dialect.moment(clock.now()) }

    /// Milliseconds of the host's monotonic clock.
    private nonisolated var uptime: Int64 { clock.monotonicMicroseconds() / 1000 }

    /// Whether this process can write just now: by its last renewal, or by a new write where that
    /// is older than a second. Concurrent callers share the answer.
    func canWrite() async -> Bool {
        guard isRenewed else { return false }
        if monotonicMilliseconds() &- lastWrite < Self.checkInterval { return true }
        let probe = probe ?? EventLoop.spawn { await self.writeSign() }
        self.probe = probe
        await probe.value
        return isRenewed
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

    /// Whether a process has not renewed its lease for so long that its rows are to be closed.
    private func hasExpiredProcess() async throws -> Bool {
        let (records, now) = try await registeredProcesses()
        let uptime = uptime
        watch.observe(records, now: now, uptime: uptime)
        return records.contains { !watch.isAlive($0, now: now, uptime: uptime) }
    }

    /// Writes one heartbeat and, unless this process itself was late, reaps expired processes.
    func renew() async throws {
        let moment = moment
        let process = process
        let (lastRenewal, watch) = (lastRenewal, watch)
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
                throw DatabaseError(.other, "there is no heartbeat", during: "heartbeat")
            }
            let records = try await transaction.query(
                "SELECT \(unsafe: ProcessRecord.columns) FROM processes"
            ).map(ProcessRecord.init(row:))
            // After a suspended host or a jump of the clock all processes look dead, until they
            // have renewed too.
            if let lastRenewal,
                now.milliseconds &- lastRenewal.moment.milliseconds > Self.lifetime
                    || uptime &- lastRenewal.uptime > Self.lifetime
            {
                return (now, uptime, records, ReapedRows())
            }
            let dead = records.filter { !watch.isAlive($0, now: now, uptime: uptime) }
            let closed = try await transaction.reapExpiredProcesses(dead, now: now, if: hasSettled)
            return (now, uptime, records, closed)
        }
        self.lastRenewal = (now, uptime)
        self.watch.observe(records, now: now, uptime: uptime)
        isRenewed = true
        compareClocks(times.now, now, spent: clock.monotonicMicroseconds() &- times.monotonic)
        lastWrite = monotonicMilliseconds()
        for message in closed.messages { replyWasClosed?(message) }
        let published = Set(closed.messages.map(\.id))
        for dead in closed.processes { await republishFinalFrames(of: dead, except: published) }
        if closed.events > 0 || !closed.messages.isEmpty {
            logger.notice(
                "rows of dead processes closed",
                metadata: [
                    "events.count": "\(closed.events)",
                    "messages.count": "\(closed.messages.count)",
                ])
        }
    }
}
