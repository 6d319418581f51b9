// The statements of the bus's writer, bound column by column.
//
// Owned by the writer and used on its thread alone, inside the gate but for `hasOldFrames`.

internal import ProxyGPT

/// Puts frames into the log and takes old ones out.
final class BusStatements {
    /// Milliseconds that frames stay after their message's end.
    static let lifetime: Int64 = 600_000
    /// Milliseconds without a frame after which a message without an end is given up.
    static let idleLimit: Int64 = 3_600_000
    /// Milliseconds for which the chat of a trimmed frame is remembered.
    static let chatMemory: Int64 = 86_400_000

    private let connection: SQLiteConnection
    private let state: SQLiteStatement
    private let lookUp: SQLiteStatement
    private let beginning: SQLiteStatement
    private let ending: SQLiteStatement
    private let insertion: SQLiteStatement

    init(_ connection: SQLiteConnection) throws(DatabaseError) {
        self.connection = connection
        state = try connection.prepare(
            """
            SELECT epoch, COALESCE((SELECT seq FROM sqlite_sequence WHERE name = 'frames'), 0)
            FROM log
            """)
        lookUp = try connection.prepare("SELECT ended_at FROM messages WHERE id = ?1")
        beginning = try connection.prepare(
            """
            INSERT INTO messages (id, chat_id, first_seq, begun_at, ended_at, last_seq)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6)
            """)
        ending = try connection.prepare(
            "UPDATE messages SET ended_at = ?2, last_seq = ?3 WHERE id = ?1")
        insertion = try connection.prepare(
            """
            INSERT INTO frames (chat_id, message_id, user_id, kind, text, prompt, created_at)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
            """)
    }

    /// The position of the log, inside a transaction.
    func head() throws(DatabaseError) -> FrameID {
        defer { state.reset() }
        guard try state.step() else {
            throw DatabaseError(.damaged, "the log has no epoch", during: "read state")
        }
        return FrameID(epoch: state.text(at: 0), sequence: state.integer(at: 1))
    }

    private enum Stage {
        case unknown, running, ended
    }

    /// Appends frames to the log. A frame after its message's end is skipped: a process that was
    /// only paused goes on with a reply that another process has ended.
    func insert(_ frames: [StreamFrame], at time: Int64) throws(DatabaseError) {
        for frame in frames {
            let stage = try stage(of: frame.messageID)
            if stage == .ended { continue }
            try insert(frame, at: time)
            let seq = connection.lastInsertedRow
            if stage == .unknown {
                try begin(frame, seq, at: time)
            } else if frame.isEnd {
                defer { ending.reset() }
                ending.bind(frame.messageID.text, at: 1)
                ending.bind(time, at: 2)
                ending.bind(seq, at: 3)
                _ = try ending.step()
            }
        }
    }

    private func stage(of message: Message.ID) throws(DatabaseError) -> Stage {
        defer { lookUp.reset() }
        lookUp.bind(message.text, at: 1)
        guard try lookUp.step() else { return .unknown }
        return lookUp.isNull(at: 0) ? .running : .ended
    }

    private func begin(_ frame: StreamFrame, _ seq: Int64, at time: Int64) throws(DatabaseError) {
        defer { beginning.reset() }
        beginning.bind(frame.messageID.text, at: 1)
        beginning.bind(frame.chatID.text, at: 2)
        beginning.bind(seq, at: 3)
        beginning.bind(time, at: 4)
        if frame.isEnd {
            beginning.bind(time, at: 5)
            beginning.bind(seq, at: 6)
        }
        _ = try beginning.step()
    }

    private func insert(_ frame: StreamFrame, at time: Int64) throws(DatabaseError) {
        defer { insertion.reset() }
        insertion.bind(frame.chatID.text, at: 1)
        insertion.bind(frame.messageID.text, at: 2)
        insertion.bind(frame.userID.text, at: 3)
        switch frame.content {
        case .delta(let text, let prompt):
            insertion.bind(BusKind.delta, at: 4)
            insertion.bind(text, at: 5)
            if let prompt { insertion.bind(prompt, at: 6) }
        case .ended:
            insertion.bind(BusKind.ended, at: 4)
            insertion.bind("", at: 5)
        }
        insertion.bind(time, at: 7)
        _ = try insertion.step()
    }

    // MARK: - Trimming

    /// Whether there is anything to trim: a read that waits for no lock.
    func hasOldFrames(at now: Int64) throws -> Bool {
        try !oldMessages(at: now, limit: 1).isEmpty
            || !connection.query(
                """
                SELECT seq FROM trimmed_chats WHERE trimmed_at <= \(now - Self.chatMemory) LIMIT 1
                """
            ).isEmpty
    }

    /// Deletes at most `limit` old frames; true when there are no more.
    func trim(at now: Int64, limit: Int64) throws -> Bool {
        var left = limit
        for row in try oldMessages(at: now, limit: limit) {
            left -= try trim(row, at: now, limit: left)
            if left <= 0 { return false }
        }
        try forgetChats(before: now - Self.chatMemory, limit: limit)
        return true
    }

    private func oldMessages(at now: Int64, limit: Int64) throws -> [Row] {
        let largest = Int64.max
        return try connection.query(
            """
            SELECT * FROM (
                SELECT id, chat_id, first_seq, last_seq FROM messages
                WHERE ended_at <= \(now - Self.lifetime) ORDER BY ended_at LIMIT \(limit))
            UNION ALL
            SELECT id, chat_id, first_seq, \(largest) FROM messages
            WHERE ended_at IS NULL AND begun_at <= \(now - Self.idleLimit) AND COALESCE((
                SELECT created_at FROM frames
                WHERE chat_id = messages.chat_id AND seq >= first_seq AND message_id = messages.id
                ORDER BY seq DESC LIMIT 1), 0) <= \(now - Self.idleLimit)
            """)
    }

    /// Deletes the oldest frames of a message, and its row when none are left. Returns how many.
    private func trim(_ row: Row, at now: Int64, limit: Int64) throws -> Int64 {
        let message = try row.text("id")
        let chat = try row.text("chat_id")
        let ofMessage: SQL = """
            chat_id = \(chat) AND message_id = \(message)
            AND seq BETWEEN \(try row.integer("first_seq")) AND \(try row.integer("last_seq"))
            """
        let rows = try connection.query(
            """
            SELECT COUNT(*) AS count, COALESCE(MAX(seq), 0) AS seq FROM (
                SELECT seq FROM frames WHERE \(ofMessage) ORDER BY seq LIMIT \(limit))
            """)
        let count = try rows.first?.integer("count") ?? 0
        let newest = try rows.first?.integer("seq") ?? 0
        _ = try connection.execute("DELETE FROM frames WHERE \(ofMessage) AND seq <= \(newest)")
        if count < limit {
            _ = try connection.execute("DELETE FROM messages WHERE id = \(message)")
        }
        _ = try connection.execute(
            """
            INSERT INTO trimmed_chats (chat_id, seq, trimmed_at) VALUES (\(chat), \(newest), \(now))
            ON CONFLICT (chat_id) DO UPDATE SET
                seq = MAX(seq, excluded.seq), trimmed_at = excluded.trimmed_at
            """)
        _ = try connection.execute("UPDATE log SET trimmed = MAX(trimmed, \(newest))")
        return count
    }

    /// Raises the floor to the newest frame of chats that were trimmed long ago.
    private func forgetChats(before time: Int64, limit: Int64) throws {
        let rows = try connection.query(
            """
            DELETE FROM trimmed_chats WHERE chat_id IN (
                SELECT chat_id FROM trimmed_chats WHERE trimmed_at <= \(time)
                ORDER BY trimmed_at LIMIT \(limit))
            RETURNING seq
            """)
        let floor = try rows.map { try $0.integer("seq") }.max() ?? 0
        if floor > 0 { _ = try connection.execute("UPDATE log SET floor = MAX(floor, \(floor))") }
    }
}

@available(*, unavailable) extension BusStatements: Sendable {}

/// The values of the column `kind`.
enum BusKind {
    /// Stored as it always was, since releases share the file.
    static let delta = "words"
    static let ended = "ended"
}
