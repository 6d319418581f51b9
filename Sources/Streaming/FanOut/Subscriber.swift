// One open stream: the last handler of its connection, and all that the fan-out knows of it.
//
// Confined to the fan-out's loop. What is offered waits here until the socket has taken what came
// before; the fan-out says when to write, once for all that came in one turn.

internal import Gateway
internal import NIOCore
internal import ProxyGPT

/// Receives the frames of a chat, as server-sent events or over a WebSocket.
final class Subscriber: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private enum Phase {
        /// Live frames are held back until history has been read.
        case awaitsHistory([Held])
        case live
        /// The close frame is out; the peer's is awaited.
        case closing
        case ended
    }

    struct Held {
        let frame: EncodedFrame
        let isFromStore: Bool
    }

    /// Bytes that are given to the socket at once.
    private static let slice = 64 * 1024
    /// Live frames that are held back while history is read.
    private static let heldLimit = 10_000

    let number: Int
    let subscription: Subscription
    let wire: Wire
    /// The place in the fan-out's list of the chat's subscribers.
    var index = 0
    var checkAt: Int64
    var isTouched = false

    private let channel: any Channel
    private unowned let fanOut: FanOut
    private var phase = Phase.awaitsHistory([])
    private var backlog: [EncodedFrame] = []
    private var backlogStart = 0
    private var queue: SubscriberQueue
    private var isBlocked = false
    private var receiver: WebSocketReceiver?
    private var awaitsPong = false
    private var keepAliveAt: Int64
    /// Messages whose end was delivered before their last frame came.
    private var deliveredEnds: Set<Message.ID> = []
    /// Messages whose end the other subscribers received from the store; it is being read for this one.
    var missedEnds: Set<Message.ID> = []
    private var deliveredEndsUntil: Int64 = 0
    /// Where the history ended.
    private var position: FrameID?
    private(set) var bytesOut: Int64 = 0

    init(
        _ number: Int, _ subscription: Subscription, on channel: any Channel, of fanOut: FanOut,
        now: Int64, checkAt: Int64
    ) {
        self.number = number
        self.subscription = subscription
        self.channel = channel
        self.fanOut = fanOut
        self.checkAt = checkAt
        switch subscription.transport {
        case .serverSentEvents: wire = .serverSentEvents
        case .webSocket:
            wire = .webSocket
            receiver = WebSocketReceiver()
        }
        queue = SubscriberQueue(wire)
        keepAliveAt = now + Self.keepAliveInterval(wire)
    }

    /// A tick of the fan-out's one timer comes up to a second late.
    private static func keepAliveInterval(_ wire: Wire) -> Int64 {
        switch wire {
        case .serverSentEvents: 14_000
        case .webSocket: 24_000
        }
    }

    private var hasEnded: Bool {
        switch phase {
        case .awaitsHistory, .live: false
        case .closing, .ended: true
        }
    }

    // MARK: - Frames

    /// Takes a frame that came live, or the end of a message that was found in the store.
    func offer(_ frame: EncodedFrame, isFromStore: Bool, now: Int64) {
        switch phase {
        case .awaitsHistory(var held):
            if held.count >= Self.heldLimit {
                finish(.slow)
                return
            }
            phase = .ended
            held.append(Held(frame: frame, isFromStore: isFromStore))
            phase = .awaitsHistory(held)
        case .live:
            if deliveredEnds.contains(frame.frame.messageID) {
                skip(frame.frame, isFromStore, now)
                return
            }
            guard let frame = afterHistory(frame, isFromStore) else { return }
            enqueue(.frame(frame), now)
            fanOut.scoreboard?.noteFrames(1, wire: wire)
        case .closing, .ended: break
        }
    }

    /// Takes what came before live frames, then those that were held back and are not in it.
    func release(_ history: History, _ frames: [EncodedFrame], now: Int64) {
        guard case .awaitsHistory(let held) = phase else { return }
        phase = .live
        position = history.position
        deliveredEnds = history.ended
        deliveredEndsUntil = now + FanOut.lateness
        backlog = frames
        fanOut.scoreboard?.noteFrames(frames.count, wire: wire)
        if case .reset? = frames.first?.frame.content { fanOut.scoreboard?.noteReset() }
        if frames.isEmpty && wire == .serverSentEvents {
            enqueue(.bytes(ServerSentEvents.mark(at: history.position)), now)
        }
        for held in held { offer(held.frame, isFromStore: held.isFromStore, now: now) }
    }

    /// The frame as it is delivered behind history; nil where history contains it: frames may still be on
    /// their way here. An end from the store gets no smaller id than history had.
    private func afterHistory(_ frame: EncodedFrame, _ isFromStore: Bool) -> EncodedFrame? {
        guard let position, isInHistory(frame.frame) else { return frame }
        guard isFromStore else { return nil }
        return frame.frame.id == position ? frame : EncodedFrame(frame.frame.with(id: position))
    }

    /// Leaves out a frame whose message's end is known, and moves the place to resume from past it.
    private func skip(_ frame: Frame, _ isFromStore: Bool, _ now: Int64) {
        guard wire == .serverSentEvents, !isFromStore, !isInHistory(frame) else { return }
        enqueue(.bytes(ServerSentEvents.mark(at: frame.id)), now)
    }

    /// Takes a live frame of a message whose end was delivered from the store.
    func passOver(_ frame: EncodedFrame, now: Int64) {
        guard case .live = phase else { return }
        if frame.frame.isLast, missedEnds.remove(frame.frame.messageID) != nil {
            offer(frame, isFromStore: false, now: now)
        } else {
            skip(frame.frame, false, now)
        }
    }

    /// Takes an end that the other subscribers received before, unless it has arrived meanwhile.
    func deliverMissedEnd(_ frame: EncodedFrame, now: Int64) {
        guard missedEnds.remove(frame.frame.messageID) != nil else { return }
        offer(frame, isFromStore: true, now: now)
    }

    private func isInHistory(_ frame: Frame) -> Bool {
        guard let position else { return false }
        return frame.id.epoch == position.epoch && frame.id.sequence <= position.sequence
    }

    /// Holds live frames back again, because what was sent so far may have a hole.
    func startOver() {
        guard !hasEnded else { return }
        phase = .awaitsHistory([])
        missedEnds = []
        queue.removeAll()
        backlog = []
        backlogStart = 0
    }

    private func enqueue(_ item: SubscriberQueue.Item, _ now: Int64) {
        if !queue.append(item, now: now) { finish(.slow) }
    }

    // MARK: - Writing

    /// Gives the socket what waits, as much as it takes.
    func pump() {
        while !isBlocked, !hasEnded {
            var written = 0
            while written < Self.slice, let bytes = next() {
                written += bytes.readableBytes
                channel.write(bytes, promise: nil)
            }
            if written == 0 { return }
            bytesOut += Int64(written)
            channel.flush()
            isBlocked = !channel.isWritable
        }
    }

    private func next() -> ByteBuffer? {
        if backlogStart < backlog.count {
            let frame = backlog[backlogStart]
            backlogStart += 1
            if backlogStart == backlog.count {
                backlog = []
                backlogStart = 0
            }
            return frame.bytes(for: wire)
        }
        return queue.next()
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        guard isBlocked, context.channel.isWritable else { return }
        isBlocked = false
        pump()
    }

    // MARK: - Time

    /// Does what is due; called once a second.
    func tick(now: Int64, keepAlive: KeepAlive) {
        guard !hasEnded else { return }
        // What waits behind history waits for its own chat's past, not for a slow reader alone.
        if isBlocked, backlog.isEmpty, queue.isStale(now: now) {
            finish(.slow)
            return
        }
        if deliveredEndsUntil < now && !deliveredEnds.isEmpty { deliveredEnds = [] }
        guard now >= keepAliveAt else { return }
        keepAliveAt = now + Self.keepAliveInterval(wire)
        // A socket that is full is shown to live by its being emptied.
        guard !isBlocked else { return }
        switch wire {
        case .serverSentEvents:
            enqueue(
                .bytes(isCaughtUp(with: keepAlive.id) ? keepAlive.marked : keepAlive.plain), now)
        case .webSocket:
            if awaitsPong {
                finish(.dead)
                return
            }
            awaitsPong = true
            enqueue(.bytes(WebSocketWriter.ping()), now)
        }
        pump()
    }

    /// Whether everything up to `id` has been sent, and not a history beyond it.
    private func isCaughtUp(with id: FrameID?) -> Bool {
        guard case .live = phase, backlog.isEmpty, queue.isEmpty, let id, let position else {
            return false
        }
        return id.epoch == position.epoch && id.sequence >= position.sequence
    }

    // MARK: - The client

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let bytes = unwrapInboundIn(data)
        awaitsPong = false
        guard let actions = receiver?.receive(bytes.readableBytesView) else { return }
        for action in actions { perform(action) }
        pump()
    }

    private func perform(_ action: WebSocketReceiver.Action) {
        switch action {
        case .isAlive: break
        case .pong(let payload):
            if !hasEnded { enqueue(.bytes(WebSocketWriter.pong(payload)), fanOut.now) }
        case .closed(let close):
            if case .closing = phase { channel.close(promise: nil) } else { finish(.closed(close)) }
        case .fail(let close):
            if case .closing = phase {
                channel.close(promise: nil)
            } else {
                finish(.protocolError(close))
            }
        }
    }

    func channelInactive(context: ChannelHandlerContext) {
        finish(.left)
        phase = .ended
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        context.close(promise: nil)
    }

    // MARK: - The end

    /// Ends the stream: nothing of the chat leaves any more but what the socket already has.
    func finish(_ ending: Ending) {
        guard !hasEnded else { return }
        phase = .ended
        queue.removeAll()
        backlog = []
        fanOut.remove(self, ending)
        let closing = fanOut.closingBytes(ending, subscription.transport)
        guard closing.readableBytes > 0, !isBlocked, ending.isToldToPeer else {
            channel.close(promise: nil)
            return
        }
        let written = channel.writeAndFlush(closing)
        if case .protocolError = ending {
            // Its answer would not be understood; time for what was said to arrive.
            fanOut.closeLater(channel, in: .milliseconds(200))
        } else {
            fanOut.closeLater(channel)
        }
        if wire == .webSocket, !ending.isAnswer {
            // The peer answers with a close of its own, in the time that is left.
            phase = .closing
        } else {
            let channel = channel
            written.whenComplete { _ in channel.close(promise: nil) }
        }
    }
}
