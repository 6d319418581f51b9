import Credentials
import Gateway
import NIOCore
import NIOEmbedded
import ProxyGPT
import Synchronization

@testable import Streaming

let chat = Chat.ID("chat-1")
let author = User.ID("user-1")
let epoch = "e1"

func id(_ sequence: Int64, epoch: String = epoch) -> FrameID {
    FrameID(epoch: epoch, sequence: sequence)
}

func delta(
    _ text: String, _ sequence: Int64, of message: String = "m1", prompt: String? = nil
) -> Frame {
    Frame(
        id: id(sequence), chatID: chat, messageID: Message.ID(message),
        .delta(text, prompt: prompt, user: author))
}

func message(
    _ id: String, _ state: Message.State = .done, reply: String = "", prompt: String = "p",
    seq: Int64 = 1, in chat: Chat.ID = chat
) -> Message {
    Message(
        id: Message.ID(id), chatID: chat, userID: author, groupID: nil, seq: seq, prompt: prompt,
        reply: reply, model: "model", state: state, createdAt: Timestamp(milliseconds: 0),
        updatedAt: Timestamp(milliseconds: 0))
}

func logged(
    _ sequence: Int64, _ message: String, _ content: StreamFrame.Content, in chat: Chat.ID = chat
) -> LoggedFrame {
    LoggedFrame(
        id: id(sequence),
        frame: StreamFrame(
            chatID: chat, messageID: Message.ID(message), userID: author, content))
}

func text(_ buffer: ByteBuffer) -> String { String(buffer: buffer) }

/// A bus's log in memory.
final class MemoryLog: BusLog {
    struct State {
        var epoch = firstEpoch
        var frames: [LoggedFrame] = []
        /// Frames up to here are gone.
        var trimmed: Int64 = 0
        var head: Int64 = 0
        var isAway = false
        var deliver: (@Sendable ([LoggedFrame]) -> Void)?
    }

    private let state = Mutex(State())

    @discardableResult
    func publish(_ frame: StreamFrame) -> LoggedFrame {
        let (logged, deliver) = state.withLock {
            state -> (LoggedFrame, (@Sendable ([LoggedFrame]) -> Void)?) in
            state.head += 1
            let logged = LoggedFrame(
                id: FrameID(epoch: state.epoch, sequence: state.head), frame: frame)
            state.frames.append(logged)
            return (logged, state.deliver)
        }
        deliver?([logged])
        return logged
    }

    /// Frames that come at once.
    func publish(_ frames: [LoggedFrame]) {
        let deliver = state.withLock { state in
            state.frames += frames
            state.head = frames.last?.id.sequence ?? state.head
            return state.deliver
        }
        deliver?(frames)
    }

    @discardableResult
    func publish(
        _ message: String, _ content: StreamFrame.Content, in chat: Chat.ID = chat
    ) -> LoggedFrame {
        publish(
            StreamFrame(chatID: chat, messageID: Message.ID(message), userID: author, content))
    }

    func change(_ body: (inout State) -> Void) { state.withLock { body(&$0) } }

    func beginAnew(_ epoch: String) {
        let deliver = state.withLock { state in
            state.epoch = epoch
            state.frames = []
            state.head = 0
            return state.deliver
        }
        deliver?([])
    }

    func start(_ deliver: @escaping @Sendable ([LoggedFrame]) -> Void) async throws {
        state.withLock { $0.deliver = deliver }
    }

    func stop() async { state.withLock { $0.deliver = nil } }

    func isAway() async -> Bool { state.withLock(\.isAway) }

    func head() async throws -> FrameID {
        state.withLock { FrameID(epoch: $0.epoch, sequence: $0.head) }
    }

    func frames(of chat: Chat.ID, after id: FrameID) async throws -> [LoggedFrame]? {
        state.withLock { state in
            guard id.epoch == state.epoch, id.sequence <= state.head, id.sequence >= state.trimmed
            else { return nil }
            return state.frames.filter {
                $0.frame.chatID == chat && $0.id.sequence > id.sequence
            }
        }
    }

    func runningFrames(of chat: Chat.ID) async throws -> (frames: [LoggedFrame], head: FrameID) {
        state.withLock { state in
            let ended = Set(
                state.frames.filter { $0.frame.content == .ended }.map(\.frame.messageID))
            let frames = state.frames.filter {
                $0.frame.chatID == chat && !ended.contains($0.frame.messageID)
            }
            return (frames, FrameID(epoch: state.epoch, sequence: state.head))
        }
    }
}

private let firstEpoch = epoch

/// Messages in memory; what the streamer does not ask for fails.
final class MemoryMessages: MessageStore {
    struct Unexpected: Error {}
    struct Away: Error {}

    private let messages = Mutex<[Message]>([])
    private let away = Mutex(false)

    var isAway: Bool {
        get { away.withLock { $0 } }
        set { away.withLock { $0 = newValue } }
    }

    func put(_ message: Message) {
        messages.withLock { messages in
            messages.removeAll { $0.id == message.id }
            messages.append(message)
        }
    }

    func message(_ id: Message.ID, in chat: Chat.ID) async throws -> Message? {
        if isAway { throw Away() }
        return messages.withLock { $0.first { $0.id == id && $0.chatID == chat } }
    }

    func messages(of chat: Chat.ID, _ page: Page) async throws -> Listing<Message> {
        if isAway { throw Away() }
        let all = messages.withLock { $0.filter { $0.chatID == chat } }.sorted { $0.seq < $1.seq }
        let end = page.anchor.flatMap { anchor in all.firstIndex { $0.id.text == anchor } }
        let before = all[..<(end ?? all.count)]
        return Listing(
            elements: Array(before.suffix(page.limit)), hasMore: before.count > page.limit)
    }

    func begin(
        _ new: NewMessage, limit: Int, model: @escaping @Sendable (String) -> String
    ) async throws -> StoredPrompt { throw Unexpected() }
    func finish(
        _ id: Message.ID, _ end: ReplyEnd, now: Timestamp
    ) async throws -> (message: Message, contextVersion: Int64?)? { throw Unexpected() }
    func context(
        of chat: Chat.ID, below seq: Int64, limit: Int
    ) async throws -> (messages: [Message], version: Int64) { throw Unexpected() }
    func requestStop(
        of id: Message.ID, in chat: Chat.ID, by user: User.ID
    ) async throws -> Message { throw Unexpected() }
    func runningReplies() async throws -> [Message.ID: Bool] { throw Unexpected() }
}

/// What the fan-out asks of the storage loop, answered when the test says so.
final class ManualStorage: StreamRequests {
    struct HistoryRequest: Sendable {
        let chat: Chat.ID
        let resumption: Resumption
        let last: FrameID?
        let reply: @Sendable (HistoryReply) -> Void
    }
    struct State {
        var histories: [HistoryRequest] = []
        var checks: [([Int], @Sendable ([(number: Int, isAllowed: Bool?)]) -> Void)] = []
        var polls: [([Message.ID], @Sendable (FoundEnds) -> Void)] = []
        var endings: [Ending] = []
        var published: [Message.ID] = []
    }

    let state = Mutex(State())

    var endings: [Ending] { state.withLock(\.endings) }
    var published: [Message.ID] { state.withLock(\.published) }

    func readHistory(
        of chat: Chat.ID, _ resumption: Resumption, since last: FrameID?,
        for viewer: Subscription?, reply: @escaping @Sendable (HistoryReply) -> Void
    ) {
        let request = HistoryRequest(chat: chat, resumption: resumption, last: last, reply: reply)
        state.withLock { $0.histories.append(request) }
    }

    func check(
        _ subscriptions: [(number: Int, subscription: Subscription)],
        reply: @escaping @Sendable ([(number: Int, isAllowed: Bool?)]) -> Void
    ) {
        let numbers = subscriptions.map(\.number)
        state.withLock { $0.checks.append((numbers, reply)) }
    }

    func findEnded(
        _ messages: [(chat: Chat.ID, message: Message.ID)],
        reply: @escaping @Sendable (FoundEnds) -> Void
    ) {
        let ids = messages.map(\.message)
        state.withLock { $0.polls.append((ids, reply)) }
    }

    func publish(end: StreamFrame) {
        state.withLock { $0.published.append(end.messageID) }
    }

    func record(_ subscription: Subscription, _ ending: Ending, bytesOut: Int64) {
        state.withLock { $0.endings.append(ending) }
    }

    func takeHistories() -> [HistoryRequest] {
        state.withLock { state in
            defer { state.histories = [] }
            return state.histories
        }
    }

    func takeChecks() -> [([Int], @Sendable ([(number: Int, isAllowed: Bool?)]) -> Void)] {
        state.withLock { state in
            defer { state.checks = [] }
            return state.checks
        }
    }

    func takePolls() -> [([Message.ID], @Sendable (FoundEnds) -> Void)] {
        state.withLock { state in
            defer { state.polls = [] }
            return state.polls
        }
    }
}

/// A fan-out on a loop that goes when the test says so, with a clock of the same kind.
final class FanOutStage {
    let loop = EmbeddedEventLoop()
    let storage = ManualStorage()
    let watched = WatchedChats()
    let fanOut: FanOut
    private let clock = Clock()

    final class Clock: Sendable {
        let milliseconds = Mutex<Int64>(1_000_000)
    }

    init(perUser: Int = 1000, perAddress: Int = 1000, total: Int = 1000) {
        let clock = clock
        fanOut = FanOut(
            on: loop,
            FanOut.Dependencies(
                storage: storage, watched: watched,
                limits: ConnectionLimits(perUser: perUser, perAddress: perAddress, total: total),
                now: { clock.milliseconds.withLock { $0 } }, jitter: { $0.lowerBound }))
    }

    func advance(seconds: Int64) {
        clock.milliseconds.withLock { $0 += seconds * 1000 }
    }

    /// A second passes, and the store has the ends of these.
    func pollEnds(_ ended: [Message]) {
        advance(seconds: 1)
        fanOut.tick()
        for (_, reply) in storage.takePolls() { reply(FoundEnds(ended: ended)) }
        loop.run()
    }

    /// A subscriber whose history has been asked for.
    func join(
        _ transport: Transport = .serverSentEvents, user: User.ID = author, session: String = "s1",
        chat: Chat.ID = chat, address: String = "192.0.2.1", resumption: Resumption = .none
    ) throws -> SubscriberProbe {
        let subscription = Subscription.made(
            user: user, session: Session.ID(session), chat: chat, transport: transport,
            resumption: resumption, address: address)
        let channel = EmbeddedChannel(loop: loop)
        // Active, as an accepted connection is.
        channel.connect(to: try SocketAddress(unixDomainSocketPath: "/a"), promise: nil)
        let subscriber = fanOut.add(subscription, on: channel)
        try channel.pipeline.syncOperations.addHandler(subscriber)
        return SubscriberProbe(subscriber, channel)
    }

    /// Answers all histories that were asked for.
    func tell(_ history: History) {
        for request in storage.takeHistories() { request.reply(.history(history)) }
        loop.run()
    }

    func send(_ frames: Frame...) {
        fanOut.receive(LiveBatch(frames: frames, last: frames.last?.id))
        loop.run()
    }
}

/// One subscriber of a hall, and what reached it.
final class SubscriberProbe {
    let subscriber: Subscriber
    let channel: EmbeddedChannel

    init(_ subscriber: Subscriber, _ channel: EmbeddedChannel) {
        self.subscriber = subscriber
        self.channel = channel
    }

    /// The bytes that have left since the last look.
    func received() throws -> [UInt8] {
        var bytes: [UInt8] = []
        while let buffer = try channel.readOutbound(as: ByteBuffer.self) {
            bytes += Array(buffer.readableBytesView)
        }
        return bytes
    }

    func text() throws -> String { String(decoding: try received(), as: UTF8.self) }

    /// The ids of the events that have left since the last look.
    func ids() throws -> [String] {
        try text().split(separator: "\n\n").filter { $0.contains("data:") }.compactMap { event in
            event.split(separator: "\n").first { $0.hasPrefix("id: ") }
                .map { String($0.dropFirst(4)) }
        }
    }

    func block() { channel.isWritable = false }

    func unblock() {
        channel.isWritable = true
        channel.pipeline.fireChannelWritabilityChanged()
    }
}

extension Subscription {
    /// One that nobody asked for.
    static func made(
        user: User.ID, session: Session.ID, chat: Chat.ID, transport: Transport,
        resumption: Resumption = .none, address: String = ""
    ) -> Subscription {
        let then = Timestamp(milliseconds: 0)
        return Subscription(
            caller: Caller(
                user: User(id: user, username: "", createdAt: then, updatedAt: then),
                session: Session(
                    id: session, userID: user, createdAt: then, lastUsedAt: then, expiresAt: then)),
            tokenDigest: [],
            chat: Chat(
                id: chat, name: "", model: "", userID: user, groupID: nil, createdAt: then,
                updatedAt: then),
            transport: transport, resumption: resumption, isHeadOnly: false, headers: [],
            event: Event(
                id: Event.ID(""), timestamp: then, kind: .stream, clientAddress: address),
            startedAt: 0)
    }
}
