// Removes deleted rows in small transactions. Several processes may sweep at once.
//
// A deletion is a mark, which ends all rights at once: a row of `deletions` for a group or a user
// with its content, a row of `deleted_chats` for the messages of a deleted chat. A sweep locks the
// rows that it removes and skips rows that another sweep has locked. A mark is removed by a
// statement that checks whether any of its content is left. So the next sweep finds everything that
// a process leaves when it dies.
//
// Rows of one group or user are selected with BETWEEN its id and its id, in the order of an index
// that begins with the id. With an equality PostgreSQL takes the order to be that of the other
// columns alone, and may read a whole table by another index, batch after batch.

internal import EventLoop
internal import ProxyGPT

/// The work of one transaction of a sweep: in SQLite every other writer waits meanwhile.
struct SweepBudget {
    /// Milliseconds; the commit comes on top.
    private static let time: Int64 = 8
    private let end = monotonicMilliseconds() &+ time
    /// Something is done in any case.
    private var isUntouched = true
    private var rows: Int
    private var bytes: Int64 = 1 << 20

    init(rows: Int = 1000) {
        self.rows = rows
    }

    mutating func spend(rows: Int, bytes: Int64 = 0) {
        isUntouched = false
        self.rows -= rows
        self.bytes -= bytes
    }

    var isSpent: Bool {
        !isUntouched && (rows <= 0 || bytes <= 0 || monotonicMilliseconds() >= end)
    }
}

/// The result of one step of a sweep.
enum SweepStep: Sendable {
    case nothing
    /// Rows went, and there may be more.
    case progress
    /// The remaining rows are locked by other transactions.
    case blocked
}

extension Database {
    /// Leaves the writer to other processes after a transaction that began at `startedAt`, for
    /// longer than the transaction took: several processes may sweep. Does nothing where no writer
    /// waits.
    func giveWay(since startedAt: Int64) async {
        guard !dialect.hasServer else { return }
        await EventLoop.sleep(milliseconds: max(1, 2 * (monotonicMilliseconds() &- startedAt)))
    }

    /// Removes some deleted rows, in one short transaction.
    func sweepDeletions() async throws -> SweepStep {
        // A read first: most of the time there is nothing, and a transaction costs a commit.
        let isClean = try await query(
            "SELECT id FROM deleted_chats UNION ALL SELECT id FROM deletions LIMIT 1"
        ).isEmpty
        if isClean { return .nothing }
        let startedAt = monotonicMilliseconds()
        let count = try await transaction { try await $0.sweepDeletions() }
        guard count > 0 else { return .blocked }
        await giveWay(since: startedAt)
        return .progress
    }
}

extension Transaction {
    /// How many marks a transaction takes to itself.
    private static var batchSize: Int { 50 }

    /// Deletes rows within a budget, a few at a time; returns how many went.
    ///
    /// - Parameters:
    ///   - condition: which rows.
    ///   - scope: a condition within which the key is unique; ends with AND.
    func sweep(
        _ table: String, key: String, by order: String, where condition: SQL, scope: SQL = "",
        _ budget: inout SweepBudget
    ) async throws -> Int {
        yieldsToOthers()
        // PostgreSQL may otherwise read the whole scope to find these few.
        let areDoomed: SQL =
            dialect.hasServer
            ? "= ANY (ARRAY(SELECT \(unsafe: key) FROM doomed))"
            : "IN (SELECT \(unsafe: key) FROM doomed)"
        // Without MATERIALIZED a second evaluation of the rows might lock other rows than the
        // first.
        let sql: SQL = """
            WITH doomed AS MATERIALIZED (
                SELECT \(unsafe: key) FROM \(unsafe: table) WHERE \(condition)
                ORDER BY \(unsafe: order) LIMIT \(dialect.batch) \(unsafe: dialect.skipLocked))
            DELETE FROM \(unsafe: table)
            WHERE \(scope) \(unsafe: key) \(areDoomed)
            """
        var total = 0
        while !budget.isSpent {
            let count = try await execute(sql)
            total += count
            budget.spend(rows: count)
            if count < dialect.batch { break }
        }
        return total
    }

    /// Removes some deleted rows; returns their number.
    fileprivate func sweepDeletions() async throws -> Int {
        yieldsToOthers()
        // Rows of many chats lie far apart: each is some pages of SQLite's for the next checkpoint.
        var budget = SweepBudget(rows: dialect.hasServer ? 1000 : 60)
        var count = 0
        let chats = try await query(
            """
            SELECT id FROM deleted_chats ORDER BY id
            LIMIT \(Self.batchSize) \(unsafe: dialect.skipLocked)
            """)
        for row in chats where !budget.isSpent {
            count += try await sweepMessages(of: try row.text("id"), &budget)
        }
        guard chats.isEmpty else { return count }
        // Groups first: a user is removed when it owns none.
        let holders = try await query(
            """
            SELECT id, kind FROM deletions ORDER BY kind, id
            LIMIT \(Self.batchSize) \(unsafe: dialect.skipLocked)
            """)
        for row in holders where !budget.isSpent {
            let id = try row.text("id")
            switch Deletion(rawValue: try row.text("kind")) {
            case .group: count += try await sweepGroup(id, &budget)
            case .sessions: count += try await sweepSessions(markedBy: id, &budget)
            case .user: count += try await sweepUser(id, &budget)
            // A newer release's, which its processes sweep.
            case nil: break
            }
        }
        return count
    }

    // MARK: - Chats

    /// Removes messages of a deleted chat, and its mark once none are left.
    func sweepMessages(of chat: String, _ budget: inout SweepBudget) async throws -> Int {
        var total = 0
        while !budget.isSpent {
            let rows = try await query(
                """
                WITH doomed AS MATERIALIZED (
                    SELECT id FROM messages WHERE chat_id = \(chat)
                    ORDER BY seq LIMIT \(dialect.batch) \(unsafe: dialect.skipLocked))
                DELETE FROM messages WHERE id IN (SELECT id FROM doomed)
                RETURNING LENGTH(prompt) + LENGTH(reply) AS size
                """)
            total += rows.count
            budget.spend(
                rows: rows.count, bytes: try rows.reduce(0) { try $0 &+ $1.integer("size") })
            guard rows.count < dialect.batch else { continue }
            return try await total
                + execute(
                    """
                    DELETE FROM deleted_chats WHERE id = \(chat)
                        AND NOT EXISTS (SELECT 1 FROM messages WHERE chat_id = \(chat))
                    """)
        }
        return total
    }

    /// Removes chats and marks their messages.
    private func sweepChats(
        where condition: SQL, by order: String, _ budget: inout SweepBudget
    ) async throws -> Int {
        var total = 0
        while !budget.isSpent {
            let ids = try await query(
                """
                SELECT id FROM chats WHERE \(condition) ORDER BY \(unsafe: order)
                LIMIT \(dialect.batch) \(unsafe: dialect.skipLocked)
                """
            ).map { try $0.text("id") }
            if ids.isEmpty { break }
            try await send(
                """
                INSERT INTO deleted_chats (id) SELECT id FROM chats WHERE id IN (\(list: ids))
                ON CONFLICT (id) DO NOTHING
                """)
            try await execute("DELETE FROM chats WHERE id IN (\(list: ids))")
            total += ids.count
            budget.spend(rows: ids.count)
            if ids.count < dialect.batch { break }
        }
        return total
    }

    // MARK: - What holds chats

    private func sweepGroup(_ id: String, _ budget: inout SweepBudget) async throws -> Int {
        // A transaction that creates a chat in the group has locked the group before, or finds it
        // deleted.
        try await lock("SELECT id FROM groups WHERE id = \(id) FOR UPDATE")
        let ofGroup: SQL = "group_id BETWEEN \(id) AND \(id)"
        var count = try await sweepChats(where: ofGroup, by: "group_id, seq", &budget)
        count += try await sweep(
            "group_members", key: "user_id", by: "group_id, user_id", where: ofGroup,
            scope: "group_id = \(id) AND", &budget)
        guard !budget.isSpent else { return count }
        count += try await execute(
            """
            DELETE FROM groups WHERE id = \(id)
                AND NOT EXISTS (SELECT 1 FROM chats WHERE group_id = \(id))
                AND NOT EXISTS (SELECT 1 FROM group_members WHERE group_id = \(id))
            """)
        return try await count
            + execute(
                """
                DELETE FROM deletions WHERE id = \(id)
                    AND NOT EXISTS (SELECT 1 FROM groups WHERE id = \(id))
                """)
    }

    /// Removes sessions of a user that are of an older generation, and their mark once none are left.
    func sweepSessions(
        markedBy id: String, _ budget: inout SweepBudget
    ) async throws -> Int {
        let user = Deletion.user(ofSessionsMark: id)
        let areEnded: SQL = """
            user_id BETWEEN \(user) AND \(user) AND generation <> (
                SELECT session_generation FROM users WHERE users.id = \(user))
            """
        let count = try await sweep(
            "sessions", key: "id", by: "user_id", where: areEnded, &budget)
        guard !budget.isSpent else { return count }
        return try await count
            + execute(
                """
                DELETE FROM deletions WHERE id = \(id)
                    AND NOT EXISTS (SELECT 1 FROM sessions WHERE \(areEnded))
                """)
    }

    private func sweepUser(_ id: String, _ budget: inout SweepBudget) async throws -> Int {
        let ofUser: SQL = "user_id BETWEEN \(id) AND \(id)"
        var count = try await sweepChats(
            where: "\(ofUser) AND group_id IS NULL", by: "user_id, seq", &budget)
        // Handed to the user in the moment of its deletion.
        count += try await execute(
            """
            INSERT INTO deletions (id, kind) SELECT id, \(Deletion.group.rawValue) FROM groups
            WHERE owner_id = \(id) ON CONFLICT (id) DO NOTHING
            """)
        // The group's owner is one of its members, so the chat keeps an owner.
        while !budget.isSpent {
            let ids = try await query(
                """
                SELECT id FROM chats WHERE \(ofUser) AND group_id IS NOT NULL
                    AND group_id NOT IN (SELECT id FROM deletions)
                ORDER BY user_id, seq LIMIT \(dialect.batch) \(unsafe: dialect.skipLocked)
                """
            ).map { try $0.text("id") }
            if ids.isEmpty { break }
            count += try await execute(
                """
                UPDATE chats SET user_id = (
                    SELECT owner_id FROM groups WHERE groups.id = chats.group_id)
                WHERE id IN (\(list: ids))
                """)
            budget.spend(rows: ids.count)
        }
        count += try await sweep("sessions", key: "id", by: "user_id", where: ofUser, &budget)
        count += try await sweep(
            "group_members", key: "group_id", by: "user_id, group_id", where: ofUser,
            scope: "user_id = \(id) AND", &budget)
        count += try await sweep(
            "chat_users", key: "chat_id", by: "user_id, chat_id", where: ofUser,
            scope: "user_id = \(id) AND", &budget)
        guard !budget.isSpent else { return count }
        count += try await execute(
            """
            DELETE FROM users WHERE id = \(id)
                AND NOT EXISTS (SELECT 1 FROM chats WHERE user_id = \(id))
                AND NOT EXISTS (SELECT 1 FROM groups WHERE owner_id = \(id))
                AND NOT EXISTS (SELECT 1 FROM sessions WHERE user_id = \(id))
                AND NOT EXISTS (SELECT 1 FROM group_members WHERE user_id = \(id))
                AND NOT EXISTS (SELECT 1 FROM chat_users WHERE user_id = \(id))
            """)
        return try await count
            + execute(
                """
                DELETE FROM deletions WHERE id = \(id)
                    AND NOT EXISTS (SELECT 1 FROM users WHERE id = \(id))
                """)
    }
}
