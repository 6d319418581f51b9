// Which subscriber belongs to which chat, and the one place where a frame is copied to many.
//
// Confined to one NIO loop, with everything it owns. Asks the storage loop for what is in the
// database and goes on when the answer comes. Knows nothing of HTTP.

internal import Gateway
internal import Metrics
internal import NIOCore
internal import ProxyGPT

/// Passes frames to the subscribers of their chats.
final class FanOut {
    /// Milliseconds for which the last frame of a message may be on its way, in a history or live.
    static let lateness: Int64 = 60_000
    /// Milliseconds between checks of session and membership.
    private static let checkInterval: ClosedRange<Int64> = 480_000...720_000
    /// Milliseconds after which a running message counts as silent.
    private static let silence: Int64 = 900
    /// Silent messages that one poll asks for; the remaining ones follow in the next second.
    private static let pollLimit = 1000
    /// The time before a failed reading is repeated, and how often it is tried.
    private static let pause = TimeAmount.seconds(1)
    private static let attempts = 60

    private let loop: any EventLoop
    private let dependencies: Dependencies
    private var bound: LoopBound<FanOut> { LoopBound(self, loop) }
    private var subscribers: [Int: Subscriber] = [:]
    private var audiences: [Chat.ID: Audience] = [:]
    private var occupancy: Occupancy
    private var ofWire: [Wire: Int] = [:]
    private var nextNumber = 0
    /// The newest frame that has been passed on; nil after a gap, until the next comes.
    private var last: FrameID?
    private var touched: [Subscriber] = []
    private var isPolling = false
    private(set) var isDraining = false

    init(on loop: any EventLoop, _ dependencies: Dependencies) {
        self.loop = loop
        self.dependencies = dependencies
        occupancy = Occupancy(dependencies.limits)
    }

    var now: Int64 { dependencies.now() }
    var count: Int { subscribers.count }

    var scoreboard: Scoreboard? { dependencies.scoreboard }

    private func jitter(_ range: ClosedRange<Int64>) -> Int64 { dependencies.jitter(range) }

    // MARK: - Coming and going

    /// Whether there is room for one more stream.
    func hasRoom(for subscription: Subscription) -> Bool {
        !isDraining
            && occupancy.shortage(for: subscription.userID, at: subscription.clientAddress) == nil
    }

    /// Registers a subscriber for live frames and begins to read its history.
    func add(_ subscription: Subscription, on channel: any Channel) -> Subscriber {
        nextNumber += 1
        let now = now
        let subscriber = Subscriber(
            nextNumber, subscription, on: channel, of: self, now: now,
            checkAt: now + jitter(Self.checkInterval))
        let chat = subscription.chatID
        let audience = audiences[chat] ?? Audience()
        audiences[chat] = audience
        if audience.subscribers.isEmpty { dependencies.watched.insert(chat) }
        audience.add(subscriber)
        subscribers[subscriber.number] = subscriber
        occupancy.add(subscription.userID, at: subscription.clientAddress)
        scoreboard?.noteBegin(of: subscription)
        scoreboard?.noteSubscribers(wire: subscriber.wire, change(1, of: subscriber.wire))
        read(
            HistoryRequest(
                chat: chat, resumption: subscription.resumption, numbers: [subscriber.number],
                last: last, viewer: subscription, generation: audience.generation))
        return subscriber
    }

    /// Takes a subscriber out that has ended.
    func remove(_ subscriber: Subscriber, _ ending: Ending) {
        guard subscribers.removeValue(forKey: subscriber.number) != nil else { return }
        let subscription = subscriber.subscription
        scoreboard?.noteSubscribers(wire: subscriber.wire, change(-1, of: subscriber.wire))
        if let audience = audiences[subscription.chatID] {
            audience.remove(subscriber)
            if audience.subscribers.isEmpty {
                audiences[subscription.chatID] = nil
                dependencies.watched.remove(subscription.chatID)
            }
        }
        occupancy.remove(subscription.userID, at: subscription.clientAddress)
        scoreboard?.noteEnd(ending)
        dependencies.storage.record(subscription, ending, bytesOut: subscriber.bytesOut)
    }

    /// Counts the subscribers of a transport.
    private func change(_ number: Int, of wire: Wire) -> Int {
        ofWire[wire, default: 0] += number
        return ofWire[wire, default: 0]
    }

    /// Records a stream that ends as it begins.
    func record(_ subscription: Subscription, _ ending: Ending) {
        scoreboard?.noteEnd(ending)
        dependencies.storage.record(subscription, ending, bytesOut: 0)
    }

    /// The last bytes of a stream: when to come back, or a close frame.
    func closingBytes(_ ending: Ending, _ transport: Transport) -> ByteBuffer {
        switch transport {
        case .serverSentEvents:
            ending.retry.map { retry($0) } ?? ByteBuffer()
        case .webSocket: WebSocketWriter.close(ending.close)
        }
    }

    /// When a client is to come back: another moment for each, so that not all come at once.
    func retry(_ range: ClosedRange<Int64>) -> ByteBuffer {
        ServerSentEvents.retry(after: jitter(range))
    }

    /// Closes a channel soon, once its peer has had time to read the last bytes.
    func closeLater(_ channel: any Channel, in time: TimeAmount = .seconds(2)) {
        loop.scheduleTask(in: time) { channel.close(promise: nil) }
    }

    // MARK: - Frames

    /// Passes live frames on: to each subscriber what concerns it, with one flush.
    func receive(_ batch: LiveBatch) {
        let now = now
        if batch.startsOver {
            last = nil
            for chat in audiences.keys { startOver(chat) }
        }
        for chat in batch.broken { startOver(chat) }
        for frame in batch.frames {
            guard let audience = audiences[frame.chatID] else { continue }
            if audience.admits(frame, now: now) {
                pass(EncodedFrame(frame), to: audience, isFromStore: false, now)
            } else {
                let frame = EncodedFrame(frame)
                for subscriber in audience.subscribers {
                    subscriber.passOver(frame, now: now)
                    touch(subscriber)
                }
            }
        }
        if let newest = batch.last { last = newest }
        pumpTouched()
    }

    private func pass(
        _ frame: EncodedFrame, to audience: Audience, isFromStore: Bool, _ now: Int64
    ) {
        for subscriber in audience.subscribers {
            subscriber.offer(frame, isFromStore: isFromStore, now: now)
            touch(subscriber)
        }
    }

    private func touch(_ subscriber: Subscriber) {
        if subscriber.isTouched { return }
        subscriber.isTouched = true
        touched.append(subscriber)
    }

    private func pumpTouched() {
        let touched = touched
        self.touched.removeAll(keepingCapacity: touched.count < 10_000)
        for subscriber in touched {
            subscriber.isTouched = false
            subscriber.pump()
        }
    }

    private struct HistoryRequest: Sendable {
        let chat: Chat.ID
        let resumption: Resumption
        /// The subscribers that wait for it.
        let numbers: [Int]
        var last: FrameID?
        /// The subscriber whose rights are checked first; nil where they have been checked.
        let viewer: Subscription?
        let generation: Int
        var attempts = 1
    }

    private func read(_ request: HistoryRequest) {
        let bound = bound
        dependencies.storage.readHistory(
            of: request.chat, request.resumption, since: request.last, for: request.viewer
        ) { reply in
            bound.execute { $0.take(reply, to: request) }
        }
    }

    /// Releases the subscribers that waited for a history, unless the chat began anew since they asked:
    /// another history is then on its way. Subscribers without the right to read end in any case.
    private func take(_ reply: HistoryReply, to request: HistoryRequest) {
        let waiting = request.numbers.compactMap { subscribers[$0] }
        guard let audience = audiences[request.chat], !waiting.isEmpty else { return }
        let isCurrent = audience.generation == request.generation
        switch reply {
        case .notAllowed: for subscriber in waiting { subscriber.finish(.notAllowed) }
        case .failed where request.viewer != nil || isCurrent && request.attempts >= Self.attempts:
            for subscriber in waiting { subscriber.finish(.failed) }
        // Their streams need not end at once: the store will be back.
        case .failed: if isCurrent { readLater(request) }
        case .history(let history):
            if isCurrent { release(waiting, with: history, in: audience) }
        }
    }

    private func readLater(_ request: HistoryRequest) {
        var again = request
        again.attempts += 1
        loop.scheduleTask(in: Self.pause) { [bound, again] in
            let fanOut = bound.onLoop
            if fanOut.audiences[again.chat]?.generation == again.generation { fanOut.read(again) }
        }
    }

    private func release(
        _ waiting: [Subscriber], with history: History, in audience: Audience
    ) {
        let now = now
        let frames = history.frames.map(EncodedFrame.init)
        audience.note(running: history.running, now: now)
        for subscriber in waiting {
            subscriber.release(history, frames, now: now)
            touch(subscriber)
            subscriber.missedEnds = audience.missed(by: subscriber.number, of: history.running)
            fetchMissedEnds(subscriber)
        }
        pumpTouched()
    }

    /// Fetches ends for one subscriber that the others received from the store before it came, and that
    /// the log does not have.
    private func fetchMissedEnds(_ subscriber: Subscriber, attempts: Int = 1) {
        if subscriber.missedEnds.isEmpty { return }
        let (bound, number, chat) = (bound, subscriber.number, subscriber.subscription.chatID)
        dependencies.storage.findEnded(subscriber.missedEnds.map { (chat: chat, message: $0) }) {
            found in
            bound.execute { $0.deliverMissedEnds(found.ended, toNumber: number, attempts) }
        }
    }

    private func deliverMissedEnds(_ ended: [Message], toNumber number: Int, _ attempts: Int) {
        guard let subscriber = subscribers[number] else { return }
        for message in ended { subscriber.deliverMissedEnd(storeEnd(of: message), now: now) }
        subscriber.pump()
        // What is left could not be read, or is gone with its chat.
        guard !subscriber.missedEnds.isEmpty, attempts < Self.attempts else { return }
        loop.scheduleTask(in: Self.pause) { [bound] in
            let fanOut = bound.onLoop
            guard let subscriber = fanOut.subscribers[number] else { return }
            fanOut.fetchMissedEnds(subscriber, attempts: attempts + 1)
        }
    }

    /// The frames that a chat's subscribers received may have a gap: all of them receive the chat's
    /// present state. One reading serves them all.
    private func startOver(_ chat: Chat.ID) {
        guard let audience = audiences[chat] else { return }
        audience.startOver()
        for subscriber in audience.subscribers { subscriber.startOver() }
        read(
            HistoryRequest(
                chat: chat, resumption: .impossible, numbers: audience.subscribers.map(\.number),
                viewer: nil, generation: audience.generation))
    }

    // MARK: - Rights

    /// Checks all subscribers that revoked rights may concern.
    func receive(_ revocations: [Revocation]) {
        let index = RevocationIndex(revocations)
        check(subscribers.values.filter { index.concerns($0.subscription) })
    }

    private func check(_ subscribers: [Subscriber]) {
        if subscribers.isEmpty { return }
        let bound = bound
        dependencies.storage.check(
            subscribers.map { (number: $0.number, subscription: $0.subscription) }
        ) { verdicts in
            bound.execute { fanOut in
                for (number, isAllowed) in verdicts { fanOut.take(isAllowed, of: number) }
            }
        }
    }

    private func take(_ isAllowed: Bool?, of number: Int) {
        guard let subscriber = subscribers[number] else { return }
        switch isAllowed {
        case true?: subscriber.checkAt = now + jitter(Self.checkInterval)
        case false?: subscriber.finish(.notAllowed)
        // The check could not be made: it is repeated with the next tick.
        case nil: subscriber.checkAt = now
        }
    }

    // MARK: - Time

    /// Does what is due for each subscriber. Called once a second.
    func tick() {
        let now = now
        let keepAlive = KeepAlive(at: last)
        var due: [Subscriber] = []
        for subscriber in Array(subscribers.values) {
            subscriber.tick(now: now, keepAlive: keepAlive)
            if now >= subscriber.checkAt {
                subscriber.checkAt = .max
                due.append(subscriber)
            }
        }
        check(due)
        pollEnds(now)
    }

    /// Asks the store for messages that were running and have become silent: their last frame may
    /// have got lost.
    private func pollEnds(_ now: Int64) {
        for audience in audiences.values { audience.forget(now: now) }
        guard !isPolling else { return }
        var silent: [(chat: Chat.ID, message: Message.ID)] = []
        for (chat, audience) in audiences where silent.count < Self.pollLimit {
            for id in audience.silent(since: now - Self.silence) {
                silent.append((chat: chat, message: id))
            }
        }
        if silent.isEmpty { return }
        isPolling = true
        let bound = bound
        dependencies.storage.findEnded(silent) { found in
            bound.execute { $0.handle(found) }
        }
    }

    /// Sees to the ends of messages whose last frame did not come: their process was killed between
    /// store and log, or the log cannot be written.
    private func handle(_ found: FoundEnds) {
        isPolling = false
        let now = now
        for message in found.ended {
            guard let audience = audiences[message.chatID] else { continue }
            switch audience.noteEnded(message.id, now: now, youngest: nextNumber) {
            case .waits: break
            case .isPublished: dependencies.storage.publish(end: StreamFrame(endOf: message))
            case .isDelivered:
                pass(storeEnd(of: message), to: audience, isFromStore: true, now)
            }
        }
        // These have no end to deliver: the log is to forget them, and their chats start over.
        for (chat, id) in found.gone {
            dependencies.storage.publish(
                end: StreamFrame(chatID: chat, messageID: id, userID: User.ID(""), .ended))
        }
        for chat in Set(found.gone.map { $0.chat }) { startOver(chat) }
        pumpTouched()
    }

    /// Delivers the ends of messages that ended while the log was away.
    func receive(ended: [Message], areNew: Bool) {
        let now = now
        for message in ended {
            guard let audience = audiences[message.chatID],
                audience.shouldDeliverEnd(
                    of: message.id, isNew: areNew, now: now, youngest: nextNumber)
            else { continue }
            pass(storeEnd(of: message), to: audience, isFromStore: true, now)
        }
        pumpTouched()
    }

    /// A final frame delivered from the database repeats the previous id, so a reconnecting client may
    /// receive it twice.
    private func storeEnd(of message: Message) -> EncodedFrame {
        EncodedFrame(.last(message, id: last ?? .nowhere))
    }

    /// Refuses new subscribers and ends all streams.
    func drain() {
        isDraining = true
        for subscriber in Array(subscribers.values) { subscriber.finish(.restart) }
    }
}
