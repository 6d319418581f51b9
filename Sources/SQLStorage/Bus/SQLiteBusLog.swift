// The log of frames as the streamer reads it: one query for all chats whenever a writer signals,
// and every 250 ms in case that a signal was lost. While the file cannot be read or written, this
// is an empty log with an epoch of its own: callers are referred to the store, and the file's
// return makes them start over.
//
// Owns the reading connection and the wakeup socket, both confined to the loop. Neither creates nor
// changes the file, except at opening and for a file that turns out to be damaged.

package import EventLoop
package import Logging
package import Metrics
package import ProxyGPT

/// Reads the frames that all processes of the host publish.
@EventLoop package final class SQLiteBusLog: BusLog {
    /// Milliseconds without a signal after which the log is read all the same.
    package nonisolated static let interval: Int64 = 250
    /// Milliseconds that the file may be unusable before callers are referred to the store.
    private nonisolated static let awayDelay: Int64 = 500
    /// The number of attempts to read the past while the file is unusable and not away.
    private nonisolated static let attempts = 20
    /// Milliseconds of the longest lag that is reported: a row may hold any number.
    private nonisolated static let longestLag: Int64 = 86_400_000
    /// Frames in one batch.
    nonisolated static let batch = 512
    /// The most frames of one chat that history returns; a subscriber that lacks more starts over.
    nonisolated static let historyLimit = 20_000

    /// The socket that writers signal.
    package enum WakeupAddress: Sendable {
        /// A path; replaces any socket there.
        case path(String)
        /// A datagram socket that is bound already.
        case descriptor(Int32)
    }

    private let file: BusFile
    private let wakeup: WakeupSocket
    private let scoreboard: Scoreboard?
    private let logger: Logger
    private var reader: BusReader?
    private var deliver: (@Sendable ([LoggedFrame]) -> Void)?
    private var watch: Watch?
    private var timer: Timer?
    private var failures = RareReport()
    private var isRepairing = false
    private var isBellTaken = false

    // The position of the delivery.
    private var epoch = ""
    private var last: Int64 = 0

    /// Whether the file can be written, as far as is known: without that no frame comes.
    private var isWritten: @Sendable () -> Bool = { true }
    /// Since when the file has been of no use.
    private var uselessSince: Int64?
    /// The epoch of the empty log that replaces the file while it is away.
    private var emptyEpoch: String?

    private nonisolated init(
        _ file: BusFile, wakeup: WakeupSocket, scoreboard: Scoreboard?, logger: Logger
    ) {
        self.scoreboard = scoreboard
        self.file = file
        self.wakeup = wakeup
        self.logger = logger
    }

    /// Opens the log, which is created where it is absent, and the wakeup socket. Blocks for a
    /// moment.
    package nonisolated static func open(
        file: String, wakeup: WakeupAddress, process: ProcessIdentity,
        identifiers: any IdentifierSource,
        scoreboard: Scoreboard? = nil, logger: Logger
    ) throws -> SQLiteBusLog {
        let file = BusFile(path: file, bootID: process.bootID, identifiers: identifiers)
        let socket = try WakeupSocket(wakeup)
        _ = try file.open()
        return SQLiteBusLog(file, wakeup: socket, scoreboard: scoreboard, logger: logger)
    }

    // MARK: - Live

    @EventLoop package func start(_ deliver: @escaping @Sendable ([LoggedFrame]) -> Void)
        async throws
    {
        guard self.deliver == nil else { return }
        emptyEpoch = nil
        uselessSince = nil
        let state = try reading { try $0.readState() }
        epoch = state.epoch
        last = state.head
        _ = try wakeup.restore()
        try watchBell()
        self.deliver = deliver
        setTimer()
    }

    @EventLoop package func stop() async {
        deliver = nil
        watch?.cancel()
        watch = nil
        timer?.cancel()
        timer = nil
        reader = nil
        wakeup.removeName()
    }

    private func watchBell() throws {
        watch?.cancel()
        watch = try EventLoop.watch(wakeup.descriptor, for: .readable) { [weak self] _ in
            self?.wakeup.drain()
            self?.deliverNews()
        }
    }

    private func setTimer() {
        timer = EventLoop.schedule(afterMilliseconds: Self.interval) { [weak self] in
            guard let self, deliver != nil else { return }
            restoreBell()
            deliverNews()
            checkFile()
            setTimer()
        }
    }

    /// Restores the wakeup socket's name where it is gone.
    private func restoreBell() {
        do {
            let finding = try wakeup.restore()
            if finding == .isNew {
                try watchBell()
                logger.notice("wake-up socket made again")
            } else if finding == .isTaken, !isBellTaken {
                logger.warning("wake-up socket is another process's: frames come late")
            }
            isBellTaken = finding == .isTaken
        } catch {
            report(error)
        }
    }

    private func deliverNews() {
        guard let deliver, emptyEpoch == nil else { return }
        do {
            let isAll = try reading { try deliverBatch($0, to: deliver) }
            // The rest in the next turn: sockets come in between.
            if !isAll {
                EventLoop.schedule(afterMilliseconds: 0) { [weak self] in self?.deliverNews() }
            }
        } catch {
            report(error)
        }
    }

    /// Delivers the next frames; true when there are no more.
    private func deliverBatch(
        _ reader: BusReader, to deliver: @Sendable ([LoggedFrame]) -> Void
    ) throws -> Bool {
        var news = try reader.frames(after: last, limit: Self.batch)
        if news.state.epoch != epoch {
            logger.notice("bus log begins anew", metadata: ["bus.epoch": "\(news.state.epoch)"])
            epoch = news.state.epoch
            last = 0
            deliver([])
            news = try reader.frames(after: 0, limit: Self.batch)
        } else if news.state.head < last {
            // Put back to an earlier state: the delivered frames are not in it.
            repair(nil, renewing: epoch)
            return true
        } else if news.state.trimmed > last {
            // This process stood still for so long that frames it never read were trimmed. Every
            // subscriber starts over now, and reads the rest as history.
            logger.warning("frames missed")
            deliver([])
            last = news.state.head
            return true
        }
        if let newest = news.newest, let scoreboard {
            let age = min(max(0, monotonicMilliseconds() &- newest), Self.longestLag)
            scoreboard.observe(scoreboard.registry.busLag, 0, age * 1000)
        }
        if !news.frames.isEmpty { deliver(news.frames) }
        last = max(last, news.end)
        return news.isAll
    }

    // MARK: - Away

    /// Makes the log count as away while `isWritten` returns false.
    package func watch(_ isWritten: @escaping @Sendable () -> Bool) {
        self.isWritten = isWritten
    }

    @EventLoop package func isAway() async -> Bool { emptyEpoch != nil }

    /// Checks whether the file is usable, and reports a change.
    private func checkFile() {
        let state = isWritten() ? try? reading { try $0.readState() } : nil
        if let state {
            uselessSince = nil
            if emptyEpoch != nil { comeBack(at: state) }
            return
        }
        let now = monotonicMilliseconds()
        let since = uselessSince ?? now
        uselessSince = since
        guard emptyEpoch == nil, now - since >= Self.awayDelay else { return }
        emptyEpoch = String(file.identifiers.next().filter { $0 != "-" }.suffix(16))
        logger.warning("bus log is away")
        deliver?([])
    }

    private func comeBack(at state: BusReader.State) {
        emptyEpoch = nil
        epoch = state.epoch
        last = state.head
        logger.notice("bus log is back", metadata: ["bus.epoch": "\(epoch)"])
        deliver?([])
    }

    /// Reads the file, again after a failure until it answers or counts as away: then the empty log does.
    private func asking<T>(
        orElse empty: (FrameID) -> T, _ body: (BusReader) throws -> T
    ) async throws -> T {
        var attempts = 0
        while true {
            if let emptyEpoch { return empty(FrameID(epoch: emptyEpoch, sequence: 0)) }
            do {
                return try reading(body)
            } catch {
                attempts += 1
                guard deliver != nil, attempts < Self.attempts else { throw error }
                await EventLoop.sleep(milliseconds: Self.interval)
            }
        }
    }

    // MARK: - The past

    @EventLoop package func head() async throws -> FrameID {
        try await asking(orElse: { $0 }) { reader in
            let state = try reader.readState()
            return FrameID(epoch: state.epoch, sequence: state.head)
        }
    }

    @EventLoop package func frames(of chat: Chat.ID, after id: FrameID) async throws
        -> [LoggedFrame]?
    {
        let frames = try await asking(orElse: { _ in nil }) {
            try $0.frames(of: chat, after: id, limit: Self.historyLimit)
        }
        if frames != nil { await leaveSnapshot() }
        return frames
    }

    @EventLoop package func runningFrames(
        of chat: Chat.ID
    ) async throws -> (frames: [LoggedFrame], head: FrameID) {
        let running = try await asking(orElse: { (frames: [], head: $0) }) {
            try $0.runningFrames(of: chat)
        }
        await leaveSnapshot()
        return running
    }

    /// Lets the turn end, and with it the store's snapshot, which may be older than the frames that
    /// were just read: the end of a message would not be in it. News need no such care, since they are
    /// read before the jobs of a turn.
    private func leaveSnapshot() async {
        await EventLoop.nextTurn()
    }

    // MARK: - The file

    /// Calls `body` with a reader of the file at the path now.
    private func reading<T>(_ body: (BusReader) throws -> T) throws -> T {
        let reader = try current()
        do {
            return try body(reader)
        } catch {
            if let error = error as? DatabaseError, error.kind != .busy { self.reader = nil }
            if error.isDamage { repair(reader.identity) }
            throw error
        }
    }

    private func current() throws -> BusReader {
        if let reader {
            if file.identity == reader.identity { return reader }
            deliverRest(of: reader)
            self.reader = nil
        }
        let reader = try BusReader(file)
        self.reader = reader
        return reader
    }

    /// Delivers the frames that were committed to a file before it was replaced.
    private func deliverRest(of reader: BusReader) {
        guard let deliver else { return }
        do {
            while try !deliverBatch(reader, to: deliver) {}
        } catch {
            report(error)
        }
    }

    /// Has a damaged file replaced, or an epoch ended, on a thread that may wait for the gate.
    private func repair(_ identity: BusFile.Identity?, renewing epoch: String? = nil) {
        if isRepairing { return }
        isRepairing = true
        let file = file
        startThread(name: "bus-repair") {
            let result = Result { _ = try file.open(insteadOf: identity, renewing: epoch) }
            EventLoop.spawn {
                self.isRepairing = false
                if case .failure(let error) = result { self.report(error) }
            }
        }
    }

    /// Once a second at most.
    private func report(_ error: any Error) {
        guard let count = failures.add(now: monotonicMilliseconds()) else { return }
        logger.error(
            "bus not read",
            metadata: ["storage.error": "\(error)", "bus.failures": "\(count)"])
    }
}
