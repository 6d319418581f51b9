package import ProxyGPT

// An ended session has no row, or a row of an older generation than its user's: all sessions of a
// user end in one step, however many there are, and their rows are removed in small batches.

extension SQLStore {
    package func caller(tokenDigest: [UInt8], now: Timestamp) async throws -> Caller? {
        let rows = try await database.query(
            """
            SELECT \(unsafe: User.columns), sessions.id AS session_id,
                sessions.created_at AS session_created_at, last_used_at, expires_at
            FROM sessions JOIN users ON users.id = sessions.user_id
            WHERE sessions.token_digest = \(tokenDigest) AND sessions.expires_at > \(database.dialect.moment(now))
                AND users.disabled_at IS NULL AND \(Session.isKept)
            """)
        guard let row = rows.first else { return nil }
        let user = try User(row: row)
        let session = Session(
            id: try row.id("session_id"), userID: user.id,
            createdAt: try row.timestamp("session_created_at"),
            lastUsedAt: try row.timestamp("last_used_at"),
            expiresAt: try row.timestamp("expires_at"))
        return Caller(user: user, session: session)
    }

    package func add(
        _ session: NewSession, ifPasswordHashIs hash: String
    ) async throws -> Bool {
        try await transaction(inTurn: session.session.userID.text) { transaction in
            // A transaction that sets a new password waits, and then ends this session too.
            try await transaction.lock(
                "SELECT id FROM users WHERE id = \(session.session.userID) FOR SHARE")
            let users = try await transaction.query(
                """
                SELECT id FROM users
                WHERE id = \(session.session.userID) AND password_hash = \(hash)
                    AND disabled_at IS NULL
                """)
            if users.isEmpty { return false }
            try await transaction.insert(session)
            return true
        }
    }

    package func touch(
        _ session: Session.ID, lastUsedAt: Timestamp, expiresAt: Timestamp
    ) async throws {
        let lifetime = expiresAt.milliseconds &- lastUsedAt.milliseconds
        _ = try await transaction(inTurn: session.text) { transaction in
            try await transaction.execute(
                """
                UPDATE sessions SET last_used_at = present.moment,
                    expires_at = present.moment + \(lifetime)
                FROM (SELECT \(transaction.dialect.moment(lastUsedAt)) AS moment) AS present
                WHERE id = \(session)
                """)
        }
    }

    package func endSession(tokenDigest: [UInt8], now: Timestamp) async throws -> Bool {
        try await transaction(inTurn: CounterName.revocations.turn) { transaction in
            let rows = try await transaction.query(
                """
                DELETE FROM sessions WHERE token_digest = \(tokenDigest)
                RETURNING id, expires_at > \(transaction.dialect.moment(now)) AS is_open
                """)
            guard let row = rows.first else { return false }
            try await transaction.revoke(Revocation(session: try row.id("id")), now: now)
            return try row.integer("is_open") != 0
        }
    }
}

extension Transaction {
    func insert(_ new: NewSession) async throws {
        let session = new.session
        let created = session.createdAt.milliseconds
        try await send(
            """
            INSERT INTO sessions
                (id, user_id, token_digest, created_at, last_used_at, expires_at, generation)
            SELECT \(session.id), \(session.userID), \(new.tokenDigest), present.moment,
                present.moment + \(session.lastUsedAt.milliseconds &- created),
                present.moment + \(session.expiresAt.milliseconds &- created),
                (SELECT session_generation FROM users WHERE id = \(session.userID))
            FROM (SELECT \(dialect.moment(session.createdAt)) AS moment) AS present
            """)
    }
    /// Ends all sessions of a user but perhaps one, with their open streams. Some of their rows go at once.
    func endSessions(
        of user: User.ID, keeping kept: Session.ID? = nil, now: Timestamp
    ) async throws {
        try await send(
            """
            UPDATE users SET session_generation = session_generation + 1 WHERE id = \(user)
            """)
        if let kept {
            try await send(
                """
                UPDATE sessions SET generation = (
                    SELECT session_generation FROM users WHERE id = \(user))
                WHERE id = \(kept) AND user_id = \(user)
                """)
        }
        let mark = Deletion.sessionsMark(of: user.text)
        try await send(
            """
            INSERT INTO deletions (id, kind) VALUES (\(mark), \(Deletion.sessions.rawValue))
            ON CONFLICT (id) DO NOTHING
            """)
        var budget = SweepBudget()
        _ = try await sweepSessions(markedBy: mark, &budget)
        // Last: other transactions that write a revocation wait from here on.
        try await revoke(Revocation(user: user), now: now)
    }
}

extension Session {
    /// Holds for sessions that have not ended together with all others of their user.
    static let isKept: SQL = "sessions.generation = users.session_generation"
}
