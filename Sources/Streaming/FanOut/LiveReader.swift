internal import EventLoop
internal import Logging
internal import ProxyGPT
internal import Synchronization

/// Frames for the fan-out, in order.
struct LiveBatch: Sendable {
    var frames: [Frame] = []
    /// The newest frame of the log that is in here or was passed over.
    var last: FrameID?
    /// What follows does not join what came before.
    var startsOver = false
    /// Chats of which a frame could not be completed; those that follow it are left out.
    var broken: Set<Chat.ID> = []
}

/// Takes the bus's batches, resolves the frames of watched chats and passes them on.
@EventLoop final class LiveReader {
    private struct Waiting {
        var frames: [LoggedFrame] = []
        var startsOver = false
        var isTaken = false
    }

    /// Frames that may wait to be resolved; beyond that they are let go, and all start over.
    nonisolated static let limit = 50_000

    private let log: any BusLog
    private let resolver: FrameResolver
    private let watched: WatchedChats
    private let logger: Logger
    private let storeWatch: StoreWatch?
    private let deliver: @Sendable (LiveBatch) -> Void
    private let waiting = Mutex(Waiting())

    /// - Parameter storeWatch: polls the store before subscribers are referred to it.
    nonisolated init(
        log: any BusLog, resolver: FrameResolver, watched: WatchedChats, logger: Logger,
        storeWatch: StoreWatch? = nil, deliver: @escaping @Sendable (LiveBatch) -> Void
    ) {
        self.log = log
        self.resolver = resolver
        self.watched = watched
        self.logger = logger
        self.storeWatch = storeWatch
        self.deliver = deliver
    }

    package func start() async throws {
        let head = try await log.head()
        deliver(LiveBatch(last: head))
        try await log.start { [weak self] batch in self?.receive(batch) }
    }

    func stop() async {
        await log.stop()
    }

    /// Called by the log, on a thread of its own.
    private nonisolated func receive(_ batch: [LoggedFrame]) {
        let mustStart = waiting.withLock { waiting in
            if batch.isEmpty || waiting.frames.count + batch.count > Self.limit {
                waiting.startsOver = true
                waiting.frames = []
            }
            // What a batch that is too much itself holds is what those that start over read.
            if batch.count <= Self.limit { waiting.frames += batch }
            defer { waiting.isTaken = true }
            return !waiting.isTaken
        }
        if mustStart { EventLoop.spawn { await self.passOn() } }
    }

    private func passOn() async {
        while let (frames, startsOver) = take() {
            if startsOver {
                await storeWatch?.poll()
                deliver(LiveBatch(startsOver: true))
            }
            guard let last = frames.last?.id else { continue }
            var batch = LiveBatch(last: last)
            for frame in watched.watched(frames) where !batch.broken.contains(frame.frame.chatID) {
                do {
                    if let frame = try await resolver.resolve(frame) { batch.frames.append(frame) }
                } catch {
                    batch.broken.insert(frame.frame.chatID)
                    logger.error(
                        "frame not resolved",
                        metadata: [
                            "message.id": "\(frame.frame.messageID)",
                            "error": "\(String(describing: error))",
                        ])
                }
            }
            deliver(batch)
        }
    }

    private func take() -> (frames: [LoggedFrame], startsOver: Bool)? {
        waiting.withLock { waiting in
            guard waiting.startsOver || !waiting.frames.isEmpty else {
                waiting.isTaken = false
                return nil
            }
            defer {
                waiting.frames = []
                waiting.startsOver = false
            }
            return (waiting.frames, waiting.startsOver)
        }
    }
}
