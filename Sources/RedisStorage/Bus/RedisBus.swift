internal import EventLoop
internal import Logging
package import ProxyGPT

/// The bus of several hosts: a log of frames in Redis.
///
/// For processes that run replies. A batch of frames is one step of Redis, at most some 20 ms after
/// they were published. While Redis is away, deltas are dropped at once.
package final class RedisBus: Bus {
    private let queue: BusQueue
    private let sender: BusSender
    private let logger: Logger

    init(
        _ client: RedisClient, place: BusPlace, identifiers: any IdentifierSource, logger: Logger,
        bounds: FrameQueue.Bounds = FrameQueue.Bounds()
    ) {
        queue = BusQueue(bounds: bounds)
        sender = BusSender(
            client, queue, place: place, identifiers: identifiers, logger: logger)
        self.logger = logger
    }

    package func publish(_ frame: StreamFrame) {
        let (wakes, dropped) = queue.add(frame)
        if wakes { EventLoop.spawn { [sender] in sender.wake() } }
        if let dropped { BusSender.report(dropped, to: logger) }
    }

    /// Returns once everything published before was carried, or given up after one attempt.
    package func flush() async {
        await withUnsafeContinuation { continuation in
            queue.flush(continuation)
            EventLoop.spawn { [sender] in sender.wake() }
        }
    }

    package func isReachable() async -> Bool { await sender.probe() }

    package func takeOverdueEnds(after milliseconds: Int64) -> [Message.ID] {
        queue.withEnds { $0.takeOverdue(after: milliseconds, now: monotonicMilliseconds()) }
    }

    package func putBack(overdue ids: [Message.ID]) {
        queue.withEnds { $0.putBack(ids, now: monotonicMilliseconds()) }
    }

    package func isPending(_ id: Message.ID) -> Bool { queue.withEnds { $0.contains(id) } }

    package func mark() async -> LogMark? { await sender.mark(keeping: nil) }

    package func keep(storeCount: Int64, in epoch: String) async {
        _ = await sender.mark(keeping: (storeCount, epoch))
    }

    package func beginAnew(after epoch: String) async -> Bool {
        await sender.renew(epoch)
    }

    /// Carries the published frames, as far as Redis is there. Later frames are dropped.
    package func close() async {
        queue.close()
        await flush()
    }

    /// Begins to listen to the client.
    @EventLoop func start() {
        sender.start()
    }
}

/// The keys and the channel of the bus in Redis.
struct BusPlace: Sendable {
    let prefix: String
    /// Channels are shared by all databases of a Redis, keys are not.
    let channel: String
    /// Frames that a chat keeps, roughly.
    var frameLimit = 20_000
    /// The seal of its frames.
    let seal: Seal

    init(prefix: String, database: Int, seal: Seal) {
        self.prefix = prefix
        self.seal = seal
        channel = "\(prefix)bus:\(database)"
    }

    /// In the place of an epoch that must not go on: every epoch.
    static let any = "*"

    var keys: [String] { [prefix + "bus", prefix + "bus:recent"] }
}

/// Sends batches, one after the other: a batch behind one that failed must not overtake it.
@EventLoop final class BusSender {
    private let client: RedisClient
    private let queue: BusQueue
    private let place: BusPlace
    private let identifiers: any IdentifierSource
    private let logger: Logger
    private var known: FrameID?
    private var nextProbe: Int64 = 0
    private var positions = DeltaPositions()
    /// Batches in a row that were refused because of the content of Redis: the log must not go on
    /// from that.
    private var refused = 0
    /// While a batch is under way, or for a while after one has failed.
    private var isSending = false
    private var timer: Timer?

    nonisolated init(
        _ client: RedisClient, _ queue: BusQueue, place: BusPlace,
        identifiers: any IdentifierSource, logger: Logger
    ) {
        self.client = client
        self.queue = queue
        self.place = place
        self.identifiers = identifiers
        self.logger = logger
    }

    /// Whether Redis is there. Tries everything that sending needs, at most once a second: a
    /// process that has nothing to send would not notice otherwise that Redis refuses it.
    func probe() -> Bool {
        let now = monotonicMilliseconds()
        if let run = client.runID, now >= nextProbe {
            nextProbe = now &+ 1000
            let opening = place.opening(run: run, known: known, identifiers)
            client.run(.state, keys: place.keys, opening) { _ in }
        }
        return client.isReady
    }

    /// Reads the store's count as the log has it, and writes a new one.
    func mark(keeping count: (Int64, epoch: String)?) async -> LogMark? {
        // A process that starts must know it before the first question about the past.
        await client.firstTry()
        guard let run = client.runID else { return nil }
        let arguments = [count.map { "\($0.0)" } ?? "", count?.epoch ?? ""]
        let reply = try? await client.run(
            .mark, keys: place.keys,
            place.opening(run: run, known: known, identifiers)
                + arguments.map { Array($0.utf8) })
        guard let reply, let state = LogState(reply) else { return nil }
        return LogMark(epoch: state.head.epoch, storeCount: state.rest.first?.sequence ?? 0)
    }

    /// Makes the log begin anew, if it still has this epoch; false where Redis did not do it.
    func renew(_ epoch: String) async -> Bool {
        guard let run = client.runID else { return false }
        let opening = place.opening(run: run, known: nil, identifiers, renewing: epoch)
        let reply = try? await client.run(.state, keys: place.keys, opening)
        return reply.flatMap { LogState($0) } != nil
    }

    func start() {
        client.addTrial { [weak self] in self?.trial(run: $0) ?? [] }
        client.listen { [weak self] change in
            guard let self else { return }
            if change == .away {
                if let dropped = queue.redisWentAway() { Self.report(dropped, to: logger) }
            } else {
                queue.redisReturned()
                wake()
            }
        }
    }

    /// Sends a batch, if it is time.
    func wake() {
        guard !isSending, let run = client.runID else { return }
        let now = monotonicMilliseconds()
        switch queue.next(now: now) {
        case .nothing: break
        case .wait(let due):
            guard timer == nil else { return }
            timer = EventLoop.schedule(afterMilliseconds: due - now) { [weak self] in
                self?.timer = nil
                self?.wake()
            }
        case .batch: send(queue.take(now: now), run)
        }
    }

    private func send(_ batch: [StreamFrame], _ run: String) {
        isSending = true
        let arguments = appending(
            StreamFrame.merge(batch),
            place.opening(
                run: run, known: known, identifiers,
                renewing: renewing))
        client.run(.append, keys: place.keys, arguments, mayBeLate: true) { [weak self] result in
            guard let self else { return }
            if case .success(let reply) = result, let id = LogState(reply)?.head {
                known = id
                refused = 0
                queue.settle(batch)
                goOn()
            } else {
                if case .failure(let error) = result, error.isAboutContent { refused += 1 }
                if let dropped = queue.giveUp(batch) { Self.report(dropped, to: logger, result) }
                // An error that lasts must not keep the loop busy.
                EventLoop.schedule(afterMilliseconds: 100) { [weak self] in self?.goOn() }
            }
        }
    }

    /// The epoch that must not go on: at first the known one, which another process may have ended
    /// already. Keys that an aborted script has left behind must not make the next try succeed.
    private var renewing: String {
        switch refused {
        case 0: ""
        case 1: known?.epoch ?? BusPlace.any
        default: BusPlace.any
        }
    }

    private func appending(_ frames: [StreamFrame], _ opening: [[UInt8]]) -> [[UInt8]] {
        var arguments = opening
        arguments += [Array(place.channel.utf8), Array("\(place.frameLimit)".utf8)]
        for frame in frames {
            arguments += [
                Array(frame.chatID.text.utf8), Array(frame.messageID.text.utf8), [frame.kind],
                frame.encoded(at: positions.take(frame), place.seal),
            ]
        }
        return arguments
    }

    /// All commands of the bus, with a frame of a chat without subscribers.
    private func trial(run: String) -> [Trial] {
        let opening = place.opening(run: run, known: nil, identifiers)
        let frame = StreamFrame(
            chatID: Chat.ID("trial"), messageID: Message.ID(identifiers.next()),
            userID: User.ID(""), .ended)
        return [
            Trial(script: .append, keys: place.keys, arguments: appending([frame], opening)),
            Trial(
                script: .recent, keys: place.keys,
                arguments: opening + ["0", "1"].map { Array($0.utf8) }),
            Trial(
                script: .running, keys: place.keys, arguments: opening + [Array("trial".utf8)]),
        ]
    }

    private func goOn() {
        isSending = false
        wake()
    }

    nonisolated static func report(
        _ dropped: Int, to logger: Logger, _ result: Result<RedisReply, RedisError>? = nil
    ) {
        var metadata: Logger.Metadata = ["bus.dropped_frames": "\(dropped)"]
        if case .failure(let error)? = result { metadata["redis.error"] = "\(error)" }
        logger.warning("frames dropped", metadata: metadata)
    }
}

extension BusPlace {
    /// The arguments that every script of the bus begins with.
    func opening(
        run: String, known: FrameID?, _ identifiers: any IdentifierSource, renewing: String = ""
    ) -> [[UInt8]] {
        [
            run, known?.epoch ?? "", "\(known?.sequence ?? 0)", identifiers.epoch, prefix, renewing,
        ].map { Array($0.utf8) }
    }
}

/// The answer of the bus's scripts: the position of the log, and more.
struct LogState {
    let head: FrameID
    let rest: ArraySlice<RedisReply>

    init?(_ reply: RedisReply) {
        guard let list = reply.list, list.count >= 2, let epoch = list[0].text,
            FrameID.isEpoch(epoch), let sequence = list[1].sequence
        else { return nil }
        head = FrameID(epoch: epoch, sequence: sequence)
        rest = list[2...]
    }
}
