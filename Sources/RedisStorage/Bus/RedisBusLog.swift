// The log of frames as the streamer reads it: live by subscription, the past from the chats' streams.
//
// A publication may be missed (a connection that breaks, a subscription that is deaf): the numbers
// tell, and what is missing is read from the groups of the last minute. Where that is not possible,
// everybody starts over. While Redis is away, this is an empty log of its own epoch: whoever asks is
// referred to the store, and hears of Redis' return by starting over. Confined to the loop.

internal import EventLoop
internal import Logging
internal import ProxyGPT

/// Reads the frames that the processes of all hosts publish.
@EventLoop final class RedisBusLog: BusLog {
    /// What tests change.
    struct Tuning: Sendable {
        /// Milliseconds from one look at the newest number to the next: when it is not what was
        /// delivered, publications were missed.
        var looking: Int64 = 1000
        /// Milliseconds that Redis may be away before everybody is referred to the store.
        var patience: Int64 = 1000
        /// Milliseconds that a publication may be on its way when its number is known already.
        var travel: Int64 = 100
    }

    /// Groups that wait, and their bytes, while a gap before them is filled.
    private nonisolated static let waitingGroups = 4096
    private nonisolated static let waitingBytes = 16 * 1024 * 1024

    /// How often Redis is asked for the past, and the milliseconds between.
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
    /// Tells timers of an earlier start from those of this one.
    private var generation = 0

    /// Where the delivery stands; nil while Redis is away.
    private var position: LivePosition?
    private var positions = WordPositions()
    /// The epoch of the empty log that stands for Redis while it is away.
    private var emptyEpoch: String
    private var isFilling = false
    private var waiting: [FrameBatch] = []
    private var waitingSize = 0
    /// When publications of others are told of again.
    private var complainsAt: Int64 = 0
    /// Looks in a row that have failed.
    private var failedLooks = 0

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
            client.address, channel: reader.place.channel, patience: client.tuning.patience,
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
                // What comes of it must find somebody who waits.
                starting = continuation
                after(tuning.patience) { $0.started() }
                subscription.start()
            }
        } else {
            subscription.start()
        }
        look()
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
        case .away: after(tuning.patience) { if !$0.client.isReady { $0.lose() } }
        }
    }

    private func after(_ milliseconds: Int64, _ body: @escaping (RedisBusLog) -> Void) {
        EventLoop.schedule(afterMilliseconds: milliseconds) { [weak self, generation] in
            guard let self, deliver != nil, generation == self.generation else { return }
            body(self)
        }
    }

    /// Refers everybody to the store.
    private func lose() {
        guard position != nil else { return }
        position = nil
        positions = WordPositions()
        forgetWaiting()
        failedLooks = 0
        emptyEpoch = identifiers.epoch
        logger.notice("bus log is away")
        deliver?([])
    }

    /// Looks regularly whether anything was missed.
    private func look() {
        let isDeaf = subscription?.isLive == false
        after(isDeaf ? min(tuning.looking, 250) : tuning.looking) { log in
            let generation = log.generation
            EventLoop.spawn {
                await log.lookNow()
                if log.deliver != nil, generation == log.generation { log.look() }
            }
        }
    }

    private func lookNow() async {
        guard let seen = position, !isFilling else {
            fill()
            return
        }
        let head: FrameID
        do {
            head = try await reader.head(known: seen.id)
            failedLooks = 0
        } catch RedisError.late {
            // One that is slow all the time is given up by the client, and counts as away then.
            return
        } catch {
            failedLooks += 1
            if failedLooks > 1 { lose() }
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
        guard let group = FrameBatch(bytes, reader.place.seal) else {
            // Anybody may publish, as often as they like.
            let now = monotonicMilliseconds()
            if now >= complainsAt { logger.warning("publication is none of ours") }
            complainsAt = now &+ 60_000
            return
        }
        if isFilling {
            wait(group)
        } else {
            take(group)
        }
    }

    /// What finds no room is a gap, which the next group or the next look finds.
    private func wait(_ group: FrameBatch) {
        guard waiting.count < Self.waitingGroups, waitingSize + group.size <= Self.waitingBytes
        else { return }
        waiting.append(group)
        waitingSize += group.size
    }

    private func forgetWaiting() {
        waiting = []
        waitingSize = 0
    }

    private func take(_ group: FrameBatch) {
        guard let step = position?.take(group) else { return }
        switch step {
        case .deliver: deliver(group)
        case .pass: break
        case .fill:
            wait(group)
            fill()
        case .startOver:
            startOver(at: group.first.epoch)
            deliver(group)
        case .renew: fill(renewing: group.first.epoch)
        }
    }

    private func deliver(_ group: FrameBatch) {
        let frames = zip(group.frames, group.positions).filter {
            positions.admits($0.frame, at: $1)
        }
        if !frames.isEmpty { deliver?(frames.map(\.0)) }
    }

    private func startOver(at epoch: String) {
        positions = WordPositions()
        logger.notice("bus log begins anew", metadata: ["bus.epoch": "\(epoch)"])
        deliver?([])
    }

    // MARK: - Gaps

    /// Reads what is missing between what was delivered and the head; at the beginning, and after
    /// Redis was away, where the head is. Groups that arrive meanwhile wait.
    private func fill(renewing: String = "") {
        guard !isFilling, deliver != nil, client.isReady, let subscription,
            subscription.isLive || position != nil
        else { return }
        isFilling = true
        EventLoop.spawn {
            do {
                try await self.fillNow(renewing: renewing)
            } catch {
                // The next look finds the gap again, and all that waited is in it.
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
            // The first beginning is no starting over.
            if starting == nil { startOver(at: head.epoch) }
            position = LivePosition(head)
            started()
            return
        }
        var last = begun.last
        while true {
            let (head, groups) = try await reader.recent(
                after: FrameID(epoch: begun.epoch, sequence: last), renewing: renewing)
            guard deliver != nil, position != nil else { return }
            let isWhole = head.epoch == begun.epoch && groups.allSatisfy { join($0) }
            last = position?.last ?? 0
            if isWhole && last >= head.sequence { return }
            if !isWhole || groups.isEmpty {
                position?.restart(head)
                startOver(at: head.epoch)
                return
            }
        }
    }

    private func join(_ group: FrameBatch) -> Bool {
        switch position?.join(group) {
        case .deliver?:
            deliver(group)
            return true
        case .pass?: return true
        default: return false
        }
    }

    private func takeWaiting() {
        let groups = waiting
        forgetWaiting()
        for (index, group) in groups.enumerated() {
            if isFilling {
                for group in groups[index...] { wait(group) }
                return
            }
            take(group)
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

    /// Asks Redis, after a failure again until it answers or was given up: then the empty log does.
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

    /// Whether Redis is asked. Once it was given up, it is again when everybody has been told.
    private var isThere: Bool {
        position != nil || deliver == nil && client.isReady
    }
}
