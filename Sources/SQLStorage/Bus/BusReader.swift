// A reading connection to the bus's file, with the statements prepared on it.
//
// Confined to the loop's thread. Every method is one snapshot, which ends with the method: an open
// one holds the WAL.

internal import ProxyGPT

/// Reads the log of frames.
final class BusReader {
    /// The position of the log.
    struct State {
        let epoch: String
        /// The newest frame that was ever written, 0 before the first.
        let head: Int64
        /// The newest frame that was trimmed, 0 when all are there.
        let trimmed: Int64
        let floor: Int64
    }

    /// The most bytes of one batch, roughly.
    private static let batchBytes = 2 * 1024 * 1024
    /// The most bytes of one chat's history; a subscriber that lacks more starts over.
    private static let historyBytes = 16 * 1024 * 1024

    let identity: BusFile.Identity
    private let connection: SQLiteConnection
    private let state: SQLiteStatement
    private let news: SQLiteStatement
    private let history: SQLiteStatement
    private let trimmedChat: SQLiteStatement
    private let running: SQLiteStatement

    /// Opens the file, which a writer has created.
    init(_ file: BusFile) throws {
        guard let identity = file.identity else {
            throw DatabaseError(.inputOutput, "there is no such file", during: "open \(file.path)")
        }
        self.identity = identity
        connection = try SQLiteConnection(
            file: SQLStorage.existing(file.path, mayCreate: false), role: .reader)
        let columns = "seq, chat_id, message_id, user_id, kind, text, prompt, created_at"
        state = try connection.prepare(
            """
            SELECT epoch, trimmed, floor,
                COALESCE((SELECT seq FROM sqlite_sequence WHERE name = 'frames'), 0)
            FROM log
            """)
        news = try connection.prepare(
            "SELECT \(columns) FROM frames WHERE seq > ?1 ORDER BY seq LIMIT ?2")
        history = try connection.prepare(
            "SELECT \(columns) FROM frames WHERE chat_id = ?3 AND seq > ?1 ORDER BY seq LIMIT ?2")
        trimmedChat = try connection.prepare("SELECT seq FROM trimmed_chats WHERE chat_id = ?1")
        running = try connection.prepare(
            """
            SELECT \(columns) FROM frames
            WHERE chat_id = ?1 AND seq >= (
                SELECT MIN(first_seq) FROM messages WHERE chat_id = ?1 AND ended_at IS NULL)
            AND message_id IN (
                SELECT id FROM messages WHERE chat_id = ?1 AND ended_at IS NULL)
            ORDER BY seq
            """)
        // Replaced between the check and the opening: the next attempt finds the new file.
        guard file.identity == identity else {
            throw DatabaseError(.inputOutput, "the file was replaced", during: "open \(file.path)")
        }
    }

    func readState() throws(DatabaseError) -> State {
        defer { state.reset() }
        guard try state.step() else {
            throw DatabaseError(.inputOutput, "the log has no epoch yet", during: "read state")
        }
        let found = State(
            epoch: state.text(at: 0), head: state.integer(at: 3), trimmed: state.integer(at: 1),
            floor: state.integer(at: 2))
        guard FrameID.isEpoch(found.epoch), (0...FrameID.largestSequence).contains(found.head),
            (0...found.head).contains(found.trimmed), (0...found.head).contains(found.floor)
        else { throw Self.foreign("state") }
        return found
    }

    /// Content that no writer writes: the file is created anew, like one whose pages are damaged.
    private static func foreign(_ what: String) -> DatabaseError {
        DatabaseError(.damaged, "a number that no log counts to", during: "read \(what)")
    }

    /// The frames after `sequence`, the oldest `limit` of them, and where they end: further than
    /// the last of them where frames of a kind were passed over that this program does not know.
    func frames(
        after sequence: Int64, limit: Int
    ) throws -> (frames: [LoggedFrame], end: Int64, isAll: Bool, state: State, newest: Int64?) {
        try snapshot {
            let state = try readState()
            defer { news.reset() }
            news.bind(sequence, at: 1)
            news.bind(Int64(limit), at: 2)
            let news = try read(news, state.epoch, bytes: Self.batchBytes)
            let isAll = news.isWhole && news.count < limit
            return (news.frames, max(news.last, sequence), isAll, state, news.newest)
        }
    }

    /// The frames of a chat, or nil, see `BusLog`.
    func frames(of chat: Chat.ID, after id: FrameID, limit: Int) throws -> [LoggedFrame]? {
        try snapshot {
            let state = try readState()
            guard id.epoch == state.epoch, id.sequence <= state.head, id.sequence >= state.floor,
                try id.sequence >= trimmed(chat)
            else { return nil }
            defer { history.reset() }
            history.bind(id.sequence, at: 1)
            history.bind(Int64(limit) + 1, at: 2)
            history.bind(chat.text, at: 3)
            let past = try read(history, state.epoch, bytes: Self.historyBytes)
            return past.isWhole && past.count <= limit ? past.frames : nil
        }
    }

    func runningFrames(of chat: Chat.ID) throws -> (frames: [LoggedFrame], head: FrameID) {
        try snapshot {
            let state = try readState()
            defer { running.reset() }
            running.bind(chat.text, at: 1)
            let frames = try read(running, state.epoch, bytes: .max).frames
            return (frames, FrameID(epoch: state.epoch, sequence: state.head))
        }
    }

    private func trimmed(_ chat: Chat.ID) throws(DatabaseError) -> Int64 {
        defer { trimmedChat.reset() }
        trimmedChat.bind(chat.text, at: 1)
        guard try trimmedChat.step() else { return 0 }
        let sequence = trimmedChat.integer(at: 0)
        guard (0...FrameID.largestSequence).contains(sequence) else {
            throw Self.foreign("trimmed chats")
        }
        return sequence
    }

    /// The result of a statement.
    private struct Reading {
        var frames: [LoggedFrame] = []
        /// Rows, those of unknown kinds included.
        var count = 0
        var last: Int64 = 0
        /// When the last one was committed, by the kernel's monotonic clock.
        var newest: Int64?
        /// False when there was more than it may weigh.
        var isWhole = true
    }

    /// Reads to the statement's end, or until the frames weigh more than `limit`.
    private func read(
        _ statement: SQLiteStatement, _ epoch: String, bytes limit: Int
    ) throws(DatabaseError) -> Reading {
        var reading = Reading()
        var bytes = 0
        while try statement.step() {
            if bytes >= limit {
                reading.isWhole = false
                break
            }
            reading.count += 1
            if !statement.isNull(at: 7) { reading.newest = statement.integer(at: 7) }
            reading.last = statement.integer(at: 0)
            guard (1...FrameID.largestSequence).contains(reading.last) else {
                throw Self.foreign("frames")
            }
            let content: StreamFrame.Content
            switch statement.text(at: 4) {
            case BusKind.delta:
                content = .delta(
                    statement.text(at: 5),
                    prompt: statement.isNull(at: 6) ? nil : statement.text(at: 6))
            case BusKind.ended: content = .ended
            default: continue
            }
            let frame = StreamFrame(
                chatID: Chat.ID(statement.text(at: 1)),
                messageID: Message.ID(statement.text(at: 2)),
                userID: User.ID(statement.text(at: 3)), content)
            bytes += frame.size
            reading.frames.append(
                LoggedFrame(id: FrameID(epoch: epoch, sequence: reading.last), frame: frame))
        }
        return reading
    }

    private func snapshot<T>(_ body: () throws -> T) throws -> T {
        try connection.run("BEGIN")
        defer { connection.rollBack() }
        return try body()
    }
}

@available(*, unavailable) extension BusReader: Sendable {}
