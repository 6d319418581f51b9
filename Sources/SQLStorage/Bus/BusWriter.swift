// The one thread of a process that writes to the bus.
//
// Owns the writing connection and the wakeup socket's sender. Commits in batches: the first frame
// after a pause at once, then the frames that gather in 20 ms. After each commit it wakes the
// streamer. Checkpoints by itself when the WAL has grown, and trims every half minute. A file that
// was replaced or is damaged is opened anew; while it cannot be written, frames are dropped. All
// other threads reach the writer through the queue.

internal import EventLoop
internal import Glibc
internal import Logging
internal import ProxyGPT

/// Commits frames, batch by batch.
final class BusWriter {
    /// Values that tests change.
    struct Tuning: Sendable {
        /// Pages of 4 KiB in the WAL from which a checkpoint follows the batch: 8 MiB.
        var checkpointPages: Int32 = 2000
        /// Milliseconds from one check for old frames to the next.
        var sweeping: Int64 = 30_000
        var bounds = FrameQueue.Bounds()
        /// Called on the writer's thread with the connection, before each batch.
        var observe: (@Sendable (SQLiteConnection) throws -> Void)?
    }

    /// Milliseconds before the next attempt after a failed one.
    private static let retrying: Int64 = 250
    /// Milliseconds without a batch after which a trial shows whether one could be written.
    private static let trying: Int64 = 1000

    /// The open file with the statements prepared on it.
    private struct Session {
        let file: BusFile.Opened
        let statements: BusStatements
    }

    private let file: BusFile
    private let queue: BusQueue
    private let wakeup: DatagramSocket
    private let wakeupAddress: Sockets.UnixAddress
    private let clock: any Clock
    private let tuning: Tuning
    private let logger: Logger
    private var session: Session?
    private var damaged: BusFile.Identity?
    /// Where the log stood after the last transaction of this process.
    private var known: FrameID?
    private var failures = RareReport()
    /// Frames that were lost since the last report.
    private var lost = 0

    init(
        _ file: BusFile, _ opened: sending BusFile.Opened, queue: BusQueue, wakeup: String,
        clock: any Clock, tuning: Tuning, logger: Logger
    ) throws {
        self.file = file
        self.queue = queue
        self.wakeup = try DatagramSocket()
        wakeupAddress = try Sockets.UnixAddress(path: wakeup)
        self.clock = clock
        self.tuning = tuning
        self.logger = logger
        session = Session(file: opened, statements: try BusStatements(opened.connection))
    }

    /// Hands the writer to a thread of its own, where it stays until the queue is closed.
    static func start(_ writer: consuming sending BusWriter) {
        nonisolated(unsafe) var handedOver: BusWriter? = writer
        startThread(name: "bus-writer") {
            handedOver?.serve()
            let queue = handedOver?.queue
            // The connection is closed before the queue reports the end.
            handedOver = nil
            queue?.end()
        }
    }

    private func serve() {
        var earliest: Int64 = 0
        var alarm = monotonicMilliseconds() &+ tuning.sweeping
        var trial = monotonicMilliseconds() &+ Self.trying
        while true {
            switch queue.waitForWork(earliest: earliest, alarm: min(alarm, trial)) {
            case .end: return
            case .batch:
                let batch = queue.take()
                do {
                    try write(batch)
                    trial = monotonicMilliseconds() &+ Self.trying
                    queue.note(isWritten: true)
                    queue.settle(batch)
                } catch {
                    queue.note(isWritten: false)
                    report(error, dropped: queue.giveUp(batch))
                    earliest = monotonicMilliseconds() &+ Self.retrying
                }
            case .alarm: break
            }
            if monotonicMilliseconds() >= trial {
                tryToWrite()
                trial = monotonicMilliseconds() &+ Self.trying
            }
            if monotonicMilliseconds() >= alarm {
                let isDone = sweep()
                alarm = monotonicMilliseconds() &+ (isDone ? tuning.sweeping : 0)
            }
        }
    }

    // MARK: - Groups

    private func write(_ batch: [StreamFrame]) throws {
        let frames = StreamFrame.merge(batch)
        try inGate { session in
            try session.statements.insert(frames, at: uptime)
        }
        wakeup.send([1], to: wakeupAddress)
    }

    /// Finds out whether a batch could be written, after a time without one. Writes nothing.
    private func tryToWrite() {
        do {
            try inGate { _ in }
            queue.note(isWritten: true)
        } catch {
            queue.note(isWritten: false)
            report(error, dropped: nil)
        }
    }

    /// Runs `body` as one transaction on the file at the path now.
    private func inGate(_ body: (Session) throws -> Void) throws {
        for _ in 0..<2 {
            let session = try opened()
            do {
                if try run(body, on: session) { return }
                self.session = nil
            } catch {
                session.file.connection.rollBack()
                giveUpFile(after: error)
                throw error
            }
        }
        throw DatabaseError(.inputOutput, "the file is replaced again and again", during: "batch")
    }

    /// False when the file under the path is another one.
    private func run(_ body: (Session) throws -> Void, on session: Session) throws -> Bool {
        let connection = session.file.connection
        try session.file.gate.enter()
        defer { session.file.gate.leave() }
        guard file.identity == session.file.identity else { return false }
        try tuning.observe?(connection)
        try connection.run("BEGIN IMMEDIATE")
        try renewIfRolledBack(session)
        try body(session)
        let head = try session.statements.head()
        try connection.run("COMMIT")
        known = head
        queue.note(epoch: head.epoch)
        if connection.walPages >= tuning.checkpointPages { checkpoint(connection) }
        return true
    }

    /// A log behind its known position was put back to an earlier state: its numbers would be given
    /// twice.
    private func renewIfRolledBack(_ session: Session) throws {
        let head = try session.statements.head()
        guard let known, head.epoch == known.epoch, head.sequence < known.sequence else { return }
        try file.beginEpoch(session.file.connection)
        logger.warning(
            "bus log was put back to an earlier state: it begins anew",
            metadata: ["bus.epoch": "\(head.epoch)"])
    }

    /// Lets go of a file that is not to be trusted after this error.
    private func giveUpFile(after error: any Error) {
        guard let session else { return }
        if error.isDamage {
            damaged = session.file.identity
            self.session = nil
        } else if (error as? DatabaseError)?.kind == .inputOutput {
            self.session = nil
        }
    }

    /// Called inside the gate: neither this process nor another one commits meanwhile.
    private func checkpoint(_ connection: SQLiteConnection) {
        do {
            try connection.checkpoint()
        } catch {
            report(error, dropped: nil)
        }
    }

    private func opened() throws -> Session {
        if let session { return session }
        let opened = try file.open(insteadOf: damaged)
        damaged = nil
        let session = Session(file: opened, statements: try BusStatements(opened.connection))
        self.session = session
        logger.notice("bus file opened anew")
        return session
    }

    /// Milliseconds of the kernel's monotonic clock.
    private var uptime: Int64 { clock.monotonicMicroseconds() / 1000 }

    // MARK: - Trimming

    /// Trims one batch; true when there is nothing more to trim. The writers do it, since they make
    /// the log grow: it stays small also where no streamer runs. The first writer to check in a
    /// half minute does the work.
    private func sweep() -> Bool {
        do {
            let statements = try opened().statements
            let now = uptime
            guard try statements.hasOldFrames(at: now) else { return true }
            var isDone = true
            try inGate { session in
                isDone = try session.statements.trim(at: now, limit: 500)
            }
            return isDone
        } catch {
            giveUpFile(after: error)
            report(error, dropped: nil)
            return true
        }
    }

    /// Once a second at most.
    private func report(_ error: any Error, dropped: Int?) {
        lost += dropped ?? 0
        guard let count = failures.add(now: monotonicMilliseconds()) else { return }
        defer { lost = 0 }
        logger.error(
            "bus not written",
            metadata: [
                "storage.error": "\(error)", "bus.failures": "\(count)",
                "bus.dropped_frames": "\(lost)",
            ])
    }
}

@available(*, unavailable) extension BusWriter: Sendable {}
