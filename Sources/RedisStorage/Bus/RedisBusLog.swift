// The log of frames as the streamer reads it: live by subscription, the past from the chats'
// streams.
//
// A publication may be missed (a connection that breaks, a subscription that is deaf): the numbers
// show it, and the missing frames are read from the batches of the last minute. Where that is not
// possible, every subscriber starts over. While Redis is away, this is an empty log with an epoch
// of its own: callers are referred to the store, and the return of Redis makes them start over.
// Confined to the loop.

internal import EventLoop
internal import Logging
internal import ProxyGPT

/// Reads the frames that the processes of all hosts publish.
@EventLoop final class RedisBusLog: BusLog {
    /// Values that tests change.
    struct Tuning: Sendable {
        /// Milliseconds from one poll of the newest number to the next: when it is not the
        /// delivered one, publications were missed.
        var pollInterval: Int64 = 1000
        /// Milliseconds that Redis may be away before callers are referred to the store.
        var awayDelay: Int64 = 1000
        /// Milliseconds that a publication may be on its way when its number is known already.
        var travel: Int64 = 100
    }

    /// Batches that wait, and their bytes, while a gap before them is filled.
    private nonisolated static let waitingBatches = 4096
    private nonisolated static let waitingBytes = 16 * 1024 * 1024

    /// The number of attempts to ask Redis for the past, and the milliseconds between.
    private nonisolated static let attempts = 20
    private nonisolated static let pause: Int64 = 100

    private let client: RedisClient
    private let reader: BusReader
    private let identifiers: any IdentifierSource
    private let tuning: Tuning
    private let logger: Logger
    private var subscription: Subscription?
    private var deliver: (@Sendable ([LoggedFrame]) -> Void)?
    private var starting: UnsafeContinuation<Void, Never>?
    private var isListening = false
    /// Distinguishes timers of an earlier start from those of this one.
    private var generation = 0

    /// The position of the delivery; nil while Redis is away.
    private var position: LivePosition?
    private var positions = DeltaPositions()
    /// The epoch of the empty log that replaces Redis while it is away.
    private var emptyEpoch: String
    private var isFilling = false
    private var waiting: [FrameBatch] = []
    private var waitingSize = 0
    /// When publications of other installations are logged again.
    private var complainsAt: Int64 = 0
    /// Polls in a row that have failed.
    private var failedPolls = 0

    nonisolated init(
        _ client: RedisClient, place: BusPlace, identifiers: any IdentifierSource,
        tuning: Tuning, logger: Logger
    ) {
        self.client = client
        self.identifiers = identifiers
        self.tuning = tuning
        self.logger = logger
        reader = BusReader(client, place: place, identifiers: identifiers)
        emptyEpoch = identifiers.epoch
    }

    // MARK: - Beginning and end

    @EventLoop func start(
        _ deliver: @escaping @Sendable ([LoggedFrame]) -> Void
    ) async throws {
        guard self.deliver == nil else { return }
        await client.firstTry()
        self.deliver = deliver
        let subscription = Subscription(
            client.address, channel: reader.place.channel,
            connectTimeout: client.tuning.connectTimeout,
            identifiers: identifiers, logger: logger,
            began: { [weak self] in self?.fill() },
            receive: { [weak self] in self?.receive($0) })
        self.subscription = subscription
        if !isListening { client.listen { [weak self] change in self?.take(change) } }
        isListening = true
        if client.isReady {
            let generation = generation
            await withUnsafeContinuation { continuation in
                guard generation == self.generation else { return continuation.resume() }
                // The result must find a waiting task.
                starting = continuation
                after(tuning.awayDelay) { $0.started() }
                subscription.start()
            }
        } else {
            subscription.start()
        }
        poll()
    }

    private func started() {
        starting?.resume()
        starting = nil
    }

    @EventLoop func stop() async {
        deliver = nil
        subscription?.stop()
        subscription = nil
        generation += 1
        position = nil
        forgetWaiting()
        started()
    }

    private func take(_ change: RedisClient.Change) {
        switch change {
        case .ready: fill()
        case .away: after(tuning.awayDelay) { if !$0.client.isReady { $0.lose() } }
        }
    }

    private func after(_ milliseconds: Int64, _ body: @escaping (RedisBusLog) -> Void) {
        EventLoop.schedule(afterMilliseconds: milliseconds) { [weak self, generation] in
            guard let self, deliver != nil, generation == self.generation else { return }
            body(self)
        }
    }

    /// Refers all callers to the store.
    private func lose() {
        guard position != nil else { return }
        position = nil
        positions = DeltaPositions()
        forgetWaiting()
        failedPolls = 0
        emptyEpoch = identifiers.epoch
        logger.notice("bus log is away")
        deliver?([])
    }

    /// Polls regularly for missed publications.
    private func poll() {
        let isDeaf = subscription?.isLive == false
        after(isDeaf ? min(tuning.pollInterval, 250) : tuning.pollInterval) { log in
            let generation = log.generation
            EventLoop.spawn {
                await log.pollNow()
                if log.deliver != nil, generation == log.generation { log.poll() }
            }
        }
    }

    private func pollNow() async {
        guard let seen = position, !isFilling else {
            fill()
            return
        }
        let head: FrameID
        do {
            head = try await reader.head(known: seen.id)
            failedPolls = 0
        } catch RedisError.late {
            // The client gives up a Redis that is always slow, which counts as away then.
            return
        } catch {
            failedPolls += 1
            if failedPolls > 1 { lose() }
            return
        }
        guard let position, !isFilling,
            head.epoch != position.epoch || head.sequence > position.last
        else { return }
        if head.epoch == position.epoch, subscription?.isLive == true {
            await EventLoop.sleep(milliseconds: tuning.travel)
            guard let now = self.position, now.epoch == head.epoch, now.last < head.sequence else {
                return
            }
            logger.notice("publications missed")
            subscription?.renew()
        }
        fill()
    }

    // MARK: - Live

    private func receive(_ bytes: [UInt8]) {
        guard deliver != nil else { return }
        guard let batch = FrameBatch(bytes, reader.place.seal) else {
            // Any client may publish, as often as it likes.
            let now = monotonicMilliseconds()
            if now >= complainsAt { logger.warning("publication is none of ours") }
            complainsAt = now &+ 60_000
            return
        }
        if isFilling {
            wait(batch)
        } else {
            take(batch)
        }
    }

    /// A batch that finds no room is a gap, which the next batch or the next poll finds.
    private func wait(_ batch: FrameBatch) {
        guard waiting.count < Self.waitingBatches, waitingSize + batch.size <= Self.waitingBytes
        else { return }
        waiting.append(batch)
        waitingSize += batch.size
    }

    private func forgetWaiting() {
        waiting = []
        waitingSize = 0
    }

    private func take(_ batch: FrameBatch) {
        guard let step = position?.take(batch) else { return }
        switch step {
        case .deliver: deliver(batch)
        case .pass: break
        case .fill:
            wait(batch)
            fill()
        case .startOver:
            startOver(at: batch.first.epoch)
            deliver(batch)
        case .renew: fill(renewing: batch.first.epoch)
        }
    }

    private func deliver(_ batch: FrameBatch) {
        let frames = zip(batch.frames, batch.positions).filter {
            positions.admits($0.frame, at: $1)
        }
        if !frames.isEmpty { deliver?(frames.map(\.0)) }
    }

    private func startOver(at epoch: String) {
        positions = DeltaPositions()
        logger.notice("bus log begins anew", metadata: ["bus.epoch": "\(epoch)"])
        deliver?([])
    }

    // MARK: - Gaps

    /// Reads the batches between the delivered ones and the head; at the beginning, and after Redis
    /// was away, only the position of the head. Batches that arrive meanwhile wait.
    private func fill(renewing: String = "") {
        guard !isFilling, deliver != nil, client.isReady, let subscription,
            subscription.isLive || position != nil
        else { return }
        isFilling = true
        EventLoop.spawn {
            do {
                try await self.fillNow(renewing: renewing)
            } catch {
                // The next poll finds the gap again, with all batches that waited.
                self.logger.debug("gap not filled", metadata: ["redis.error": "\(error)"])
                self.forgetWaiting()
            }
            self.isFilling = false
            self.takeWaiting()
        }
    }

    private func fillNow(renewing: String) async throws {
        guard let begun = position else {
            let head = try await reader.head(known: nil)
            guard deliver != nil else { return }
            // No subscriber starts over at the first beginning.
            if starting == nil { startOver(at: head.epoch) }
            position = LivePosition(head)
            started()
            return
        }
        var last = begun.last
        while true {
            let (head, batches) = try await reader.recent(
                after: FrameID(epoch: begun.epoch, sequence: last), renewing: renewing)
            guard deliver != nil, position != nil else { return }
            let isWhole = head.epoch == begun.epoch && batches.allSatisfy { join($0) }
            last = position?.last ?? 0
            if isWhole && last >= head.sequence { return }
            if !isWhole || batches.isEmpty {
                position?.restart(head)
                startOver(at: head.epoch)
                return
            }
        }
    }

    private func join(_ batch: FrameBatch) -> Bool {
        switch position?.join(batch) {
        case .deliver?:
            deliver(batch)
            return true
        case .pass?: return true
        default: return false
        }
    }

    private func takeWaiting() {
        let batches = waiting
        forgetWaiting()
        for (index, batch) in batches.enumerated() {
            if isFilling {
                for batch in batches[index...] { wait(batch) }
                return
            }
            take(batch)
        }
    }

    // MARK: - The past

    @EventLoop func head() async throws -> FrameID {
        await client.firstTry()
        return try await asking(orElse: { self.emptyHead }) {
            try await self.reader.head(known: self.position?.id)
        }
    }

    @EventLoop func frames(
        of chat: Chat.ID, after id: FrameID
    ) async throws -> [LoggedFrame]? {
        try await asking(orElse: { nil }) {
            try await self.reader.frames(of: chat, after: id, known: self.position?.id)
        }
    }

    @EventLoop func runningFrames(
        of chat: Chat.ID
    ) async throws -> (frames: [LoggedFrame], head: FrameID) {
        try await asking(orElse: { ([], self.emptyHead) }) {
            try await self.reader.runningFrames(of: chat, known: self.position?.id)
        }
    }

    @EventLoop func isAway() async -> Bool { !isThere }

    private var emptyHead: FrameID { FrameID(epoch: emptyEpoch, sequence: 0) }

    /// Asks Redis, after a failure again until it answers or is given up: then the empty log
    /// answers.
    private func asking<T>(
        orElse empty: () -> T, _ body: () async throws -> T
    ) async throws -> T {
        for _ in 0..<Self.attempts {
            guard isThere else { return empty() }
            do {
                return try await body()
            } catch let error as RedisError {
                if error == .unexpected { await reader.renew() }
                await EventLoop.sleep(milliseconds: Self.pause)
            }
        }
        throw RedisError.unavailable
    }

    /// Whether Redis is asked. After it was given up, it is asked again when all subscribers have
    /// started over.
    private var isThere: Bool {
        position != nil || deliver == nil && client.isReady
    }
}
