internal import EventLoop
internal import Glibc
package import Logging
package import ProxyGPT

/// The bus of one host: a log of frames in a SQLite file that all processes share.
///
/// For processes that run replies. Frames are committed by a thread of its own, at most some 20 ms
/// after they were published, and survive a crash of the process.
package final class SQLiteBus: Bus {
    private let queue: BusQueue
    private let file: BusFile
    private let logger: Logger

    private init(_ queue: BusQueue, file: BusFile, logger: Logger) {
        self.queue = queue
        self.file = file
        self.logger = logger
    }

    /// Opens the bus and starts its thread. A file that is damaged or of another boot begins anew.
    ///
    /// - Parameters:
    ///   - file: `bus.db` in the state directory; made where it is absent.
    ///   - wakeup: the socket to signal after commits; a streamer need not be there.
    /// - Throws: as `SQLStorage.open`.
    package static func open(
        file: String, wakeup: String, process: ProcessIdentity, identifiers: any IdentifierSource,
        clock: any Clock, logger: Logger
    ) throws -> SQLiteBus {
        try open(
            file: file, wakeup: wakeup, process: process, identifiers: identifiers, clock: clock,
            logger: logger, tuning: BusWriter.Tuning())
    }

    static func open(
        file: String, wakeup: String, process: ProcessIdentity, identifiers: any IdentifierSource,
        clock: any Clock, logger: Logger, tuning: BusWriter.Tuning
    ) throws -> SQLiteBus {
        let file = BusFile(path: file, bootID: process.bootID, identifiers: identifiers)
        let queue = BusQueue(bounds: tuning.bounds)
        let writer = try BusWriter(
            file, file.open(), queue: queue, wakeup: wakeup, clock: clock, tuning: tuning,
            logger: logger)
        BusWriter.start(writer)
        return SQLiteBus(queue, file: file, logger: logger)
    }

    package func publish(_ frame: StreamFrame) {
        guard let dropped = queue.add(frame) else { return }
        logger.warning("frames dropped", metadata: ["bus.dropped_frames": "\(dropped)"])
    }

    /// Returns once everything published before is committed, or given up after one attempt.
    package func flush() async {
        await withUnsafeContinuation { queue.flush($0) }
    }

    /// A file that cannot be written carries nothing.
    package func isReachable() async -> Bool { isWritten }

    /// Whether the file takes frames, as far as is known.
    package var isWritten: Bool { queue.isWritten && access(file.path, R_OK | W_OK) == 0 }

    package func takeOverdueEnds(after milliseconds: Int64) -> [Message.ID] {
        queue.withEnds { $0.takeOverdue(after: milliseconds, now: monotonicMilliseconds()) }
    }

    package func putBack(overdue ids: [Message.ID]) {
        queue.withEnds { $0.putBack(ids, now: monotonicMilliseconds()) }
    }

    package func isPending(_ id: Message.ID) -> Bool { queue.withEnds { $0.contains(id) } }

    /// The file is no older than this start of the host, and begins anew where no process has it
    /// open: a process that has it open remembers the store's count itself.
    package func mark() async -> LogMark? {
        queue.epoch.map { LogMark(epoch: $0, storeCount: nil) }
    }

    package func beginAnew(after epoch: String) async -> Bool {
        let result = await onThread { [file] in Result { _ = try file.open(renewing: epoch) } }
        guard case .failure(let error) = result else { return true }
        logger.error("bus log not begun anew", metadata: ["storage.error": "\(error)"])
        return false
    }

    /// Runs work that may wait for the gate.
    private func onThread<T: Sendable>(_ body: @escaping @Sendable () -> T) async -> T {
        await withUnsafeContinuation { continuation in
            startThread(name: "bus-renewal") { continuation.resume(returning: body()) }
        }
    }

    /// Commits the frames that were published and ends the thread. Frames that are published
    /// afterwards are dropped.
    package func close() async {
        await withUnsafeContinuation { queue.close($0) }
    }
}
