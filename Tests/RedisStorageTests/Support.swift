internal import EventLoop
internal import Logging
internal import ProxyGPT
internal import Synchronization
internal import Testing

@testable internal import RedisStorage

/// A process's part in the bus: a client with what hangs on it.
final class Peer: Sendable {
    let client: RedisClient
    let bus: RedisBus
    let log: RedisBusLog
    let cache: RedisContextCache

    init(
        _ address: RedisAddress, client tuning: RedisClient.Tuning = Peer.patient,
        log logTuning: RedisBusLog.Tuning = RedisBusLog.Tuning(), frameLimit: Int = 20_000,
        bounds: FrameQueue.Bounds = FrameQueue.Bounds(), logger: Logger = silent,
        prefix: String = "test:"
    ) async {
        client = RedisClient(address, tuning: tuning, identifiers: ids, logger: logger)
        var place = BusPlace(prefix: prefix, database: address.database)
        place.frameLimit = frameLimit
        bus = RedisBus(client, place: place, identifiers: ids, logger: logger, bounds: bounds)
        log = RedisBusLog(
            client, place: place, identifiers: ids, tuning: logTuning, logger: logger)
        cache = RedisContextCache(client, prefix: prefix, budget: 100_000_000)
        await bus.start()
        await client.start()
        await client.firstTry()
    }

    /// Budgets that a busy machine does not exceed, for what is not about time.
    static let patient = RedisClient.Tuning(budget: 10_000, patience: 10_000)

    func close() async {
        await log.stop()
        await bus.close()
        await client.stop()
    }

    func isReady(_ isReady: Bool = true) async throws {
        try await eventually { await self.client.isReady == isReady }
    }
}

extension RedisServer {
    func peer(
        client tuning: RedisClient.Tuning = Peer.patient,
        log logTuning: RedisBusLog.Tuning = RedisBusLog.Tuning(), frameLimit: Int = 20_000,
        database: Int = 0, bounds: FrameQueue.Bounds = FrameQueue.Bounds(),
        logger: Logger = silent
    ) async throws -> Peer {
        await Peer(
            try address(database: database), client: tuning, log: logTuning,
            frameLimit: frameLimit, bounds: bounds, logger: logger)
    }
}

/// Keeps what a log delivers.
final class Delivery: Sendable {
    private let state = Mutex((frames: [LoggedFrame](), starts: 0, sinceStart: 0))

    var frames: [LoggedFrame] { state.withLock { $0.frames } }
    /// How often it was said that everybody has to start over.
    var starts: Int { state.withLock { $0.starts } }
    /// The frames since that was said last.
    var newFrames: [LoggedFrame] { state.withLock { Array($0.frames[$0.sinceStart...]) } }

    init(_ log: any BusLog) async throws {
        try await log.start { batch in
            self.state.withLock { state in
                if batch.isEmpty {
                    state.starts += 1
                    state.sinceStart = state.frames.count
                }
                state.frames += batch
            }
        }
    }

    func text(of message: String) -> String {
        joinedWords(frames, of: message)
    }

    /// Waits until the messages have ended.
    func ends(_ messages: some Sequence<String>) async throws {
        let messages = Set(messages.map { Message.ID($0) })
        try await eventually {
            messages.isSubset(of: self.frames.filter(\.frame.isEnd).map(\.frame.messageID))
        }
    }
}

/// What the frames say of a message.
func joinedWords(_ frames: [LoggedFrame], of message: String) -> String {
    var text = ""
    for frame in frames where frame.frame.messageID.text == message {
        if case .words(let words, _) = frame.frame.content { text += words }
    }
    return text
}

func words(
    _ text: String, of message: String, in chat: String = "chat", prompt: String? = nil
) -> StreamFrame {
    StreamFrame(
        chatID: Chat.ID(chat), messageID: Message.ID(message), userID: User.ID("user"),
        .words(text, prompt: prompt))
}

func beginning(of message: String, in chat: String = "chat") -> StreamFrame {
    words("", of: message, in: chat, prompt: "prompt of \(message)")
}

func end(of message: String, in chat: String = "chat") -> StreamFrame {
    StreamFrame(
        chatID: Chat.ID(chat), messageID: Message.ID(message), userID: User.ID("user"), .ended)
}

/// The words of a test's reply, numbered so that a hole or a repetition shows.
func numbered(_ range: Range<Int>) -> String {
    range.map { "\($0) " }.joined()
}

extension RedisBus {
    /// Publishes a whole reply of numbered words.
    func publishReply(_ message: String, in chat: String = "chat", words count: Int) {
        publish(beginning(of: message, in: chat))
        for index in 0..<count {
            publish(RedisStorageTests.words("\(index) ", of: message, in: chat))
        }
        publish(end(of: message, in: chat))
    }
}

extension [LoggedFrame] {
    /// Whether the ids only grow, within one epoch.
    var areInOrder: Bool {
        zip(self, dropFirst()).allSatisfy {
            $0.id.epoch == $1.id.epoch && $0.id.sequence < $1.id.sequence
        }
    }
}

/// A log handler that keeps everything as text.
final class Journal: Sendable {
    private let lines = Mutex<[String]>([])

    var text: String { lines.withLock { $0.joined(separator: "\n") } }

    var logger: Logger { Logger(label: "test", factory: { _ in Handler(journal: self) }) }

    private struct Handler: LogHandler {
        let journal: Journal
        var metadata: Logger.Metadata = [:]
        var logLevel = Logger.Level.trace

        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { metadata[key] }
            set { metadata[key] = newValue }
        }

        func log(event: LogEvent) {
            let line = "\(event.level) \(event.message) \(event.metadata ?? [:])"
            journal.lines.withLock { $0.append(line) }
        }
    }
}
