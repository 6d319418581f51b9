internal import EventLoop
internal import Glibc
internal import ProxyGPT
internal import Synchronization
internal import Testing

@testable internal import SQLStorage

/// A directory with a bus of its own, gone with the object.
final class BusPlace: Sendable {
    let place: Place
    var directory: String { place.directory }
    var file: String { directory + "/bus.db" }
    var bell: String { directory + "/bell.sock" }

    init() throws {
        place = try Place()
    }

    deinit {
        for name in ["", "-wal", "-shm", ".gate.lock", ".wal.lock"] { unlink(file + name) }
        unlink(bell)
    }

    func bus(
        boot: String = "boot", clock: any Clock = TestClock(), bell: String? = nil,
        tuning: BusWriter.Tuning = BusWriter.Tuning()
    ) throws -> SQLiteBus {
        try Self.bus(
            in: directory, boot: boot, clock: clock, bell: bell ?? self.bell, tuning: tuning)
    }

    static func bus(
        in directory: String, boot: String = "boot", clock: any Clock = TestClock(),
        bell: String? = nil, tuning: BusWriter.Tuning = BusWriter.Tuning()
    ) throws -> SQLiteBus {
        try SQLiteBus.open(
            file: directory + "/bus.db", bell: bell ?? directory + "/bell.sock",
            process: ProcessIdentity(id: ids.next(), host: "host", bootID: boot),
            identifiers: ids, clock: clock, logger: silent, tuning: tuning)
    }

    func log(boot: String = "boot") throws -> SQLiteBusLog {
        try SQLiteBusLog.open(
            file: file, bell: .path(bell),
            process: ProcessIdentity(id: ids.next(), host: "host", bootID: boot),
            identifiers: ids, logger: silent)
    }

    /// Asks the file itself, by a connection of the test's own.
    func number(_ sql: SQL) throws -> Int64 {
        let connection = try SQLiteConnection(file: file, role: .reader)
        return try connection.query(sql).first?.integer("number") ?? -1
    }

    func size(of suffix: String) -> Int64 {
        var status = stat()
        return stat(file + suffix, &status) == 0 ? Int64(status.st_size) : 0
    }

    /// Holds the lock that commits wait for until it is removed.
    func obstacle() throws -> Obstacle {
        try Obstacle(lock: file + ".wal.lock")
    }
}

/// Keeps what a log delivers.
final class Delivery: Sendable {
    private let state = Mutex((frames: [LoggedFrame](), starts: 0))

    var frames: [LoggedFrame] { state.withLock { $0.frames } }
    /// How often it was said that everybody has to start over.
    var starts: Int { state.withLock { $0.starts } }

    init(_ log: SQLiteBusLog) async throws {
        try await log.start { batch in
            self.state.withLock { state in
                if batch.isEmpty { state.starts += 1 }
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

func end(of message: String, in chat: String = "chat") -> StreamFrame {
    StreamFrame(
        chatID: Chat.ID(chat), messageID: Message.ID(message), userID: User.ID("user"), .ended)
}

/// The words of a test's reply, numbered so that a hole or a repetition shows.
func numbered(_ range: Range<Int>) -> String {
    range.map { "\($0) " }.joined()
}

extension SQLiteBus {
    /// Publishes a whole reply of numbered words.
    func publishReply(_ message: String, in chat: String = "chat", words count: Int) {
        publish(words("", of: message, in: chat, prompt: "prompt of \(message)"))
        for index in 0..<count {
            publish(SQLStorageTests.words("\(index) ", of: message, in: chat))
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
