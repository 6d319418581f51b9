package import ProxyGPT

// Counters by key. `pending` counts tries that are under way, since `pending_at` without a pause: after
// a while without a moment of rest they are taken for those of a dead process.

extension SQLStore {
    package func beginLogin(
        _ throttle: LoginThrottle, now: Timestamp
    ) async throws -> LoginThrottle.Admission {
        // A read first: a refused attempt costs no write.
        let rows = try await database.query(counters(throttle.keys, now: now))
        let seen = throttle.admission(
            try Self.failures(rows), now: try Self.moment(rows) ?? now)
        guard seen == .admitted else { return seen }
        let statement = countingTry(throttle.keys, now: now)
        do {
            try await transaction(inTurn: throttle.turn) { transaction in
                let rows = try await transaction.query(statement)
                let failures = try Self.failures(rows, own: 1)
                let admission = throttle.admission(failures, now: try Self.moment(rows) ?? now)
                guard admission == .admitted else { throw NotAdmitted(admission: admission) }
            }
        } catch let error as NotAdmitted {
            return error.admission
        }
        return .admitted
    }

    /// Takes the count of a try back with the transaction.
    private struct NotAdmitted: Error {
        let admission: LoginThrottle.Admission
    }

    /// So many seconds after the present moment, by the database's clock.
    private func moment(_ now: Timestamp, after seconds: Int64) -> SQL {
        database.dialect.time(now.adding(seconds: seconds), at: now)
    }

    private func countingTry(_ keys: [String], now: Timestamp) -> SQL {
        let present = database.dialect.moment(now)
        let oldest = moment(now, after: -LoginThrottle.forgetAfter)
        let restart: SQL = """
            login_failures.pending <= 0
            OR login_failures.pending_at < \(moment(now, after: -LoginThrottle.abandonedAfter))
            OR login_failures.pending_at > \(moment(now, after: LoginThrottle.abandonedAfter))
            """
        var rows: SQL = ""
        for (index, key) in keys.enumerated() {
            let comma: SQL = index == 0 ? "" : ", "
            rows = "\(rows)\(comma)(\(key), 0, \(present), 1, \(present))"
        }
        return """
            INSERT INTO login_failures (key, count, last_at, pending, pending_at) VALUES \(rows)
            ON CONFLICT (key) DO UPDATE SET
                count = CASE WHEN login_failures.last_at < \(oldest) THEN 0
                    ELSE login_failures.count END,
                last_at = CASE WHEN login_failures.last_at < \(oldest) THEN excluded.last_at
                    ELSE login_failures.last_at END,
                pending = CASE WHEN \(restart) THEN 1 ELSE login_failures.pending + 1 END,
                pending_at = CASE WHEN \(restart) THEN excluded.pending_at
                    ELSE login_failures.pending_at END
            RETURNING key, count, last_at, pending, \(present) AS moment
            """
    }

    package func failLogin(_ throttle: LoginThrottle, now: Timestamp) async throws {
        let present = database.dialect.moment(now)
        let oldest = moment(now, after: -LoginThrottle.forgetAfter)
        try await transaction(inTurn: throttle.turn) { transaction in
            for key in throttle.keys {
                try await transaction.send(
                    """
                    INSERT INTO login_failures (key, count, last_at) VALUES (\(key), 1, \(present))
                    ON CONFLICT (key) DO UPDATE SET
                        count = CASE WHEN login_failures.last_at < \(oldest) THEN 1
                            ELSE login_failures.count + 1 END,
                        last_at = excluded.last_at,
                        pending = CASE WHEN login_failures.pending > 0
                            THEN login_failures.pending - 1 ELSE 0 END
                    """)
            }
            // A few at a time: strangers decide how many there are.
            var budget = SweepBudget(rows: 100)
            _ = try await transaction.sweep(
                "login_failures", key: "key", by: "last_at", where: "last_at < \(oldest)", &budget)
        }
    }

    package func succeedLogin(_ throttle: LoginThrottle) async throws {
        try await transaction(inTurn: throttle.turn) { transaction in
            try await transaction.giveBack(throttle.keys)
            try await transaction.send(
                "DELETE FROM login_failures WHERE key IN (\(list: throttle.keysOfSuccess))")
        }
    }

    package func abandonLogin(_ throttle: LoginThrottle) async throws {
        try await transaction(inTurn: throttle.turn) { try await $0.giveBack(throttle.keys) }
    }

    /// The counters of `keys`; a key that was never counted is absent.
    func loginFailures(
        _ keys: [String], now: Timestamp
    ) async throws -> [String: LoginFailures] {
        try Self.failures(await database.query(counters(keys, now: now)))
    }

    private func counters(_ keys: [String], now: Timestamp) -> SQL {
        let abandoned = moment(now, after: -LoginThrottle.abandonedAfter)
        let ahead = moment(now, after: LoginThrottle.abandonedAfter)
        let oldest = moment(now, after: -LoginThrottle.forgetAfter)
        return """
            SELECT key, CASE WHEN last_at < \(oldest) THEN 0 ELSE count END AS count, last_at,
                CASE WHEN pending_at BETWEEN \(abandoned) AND \(ahead) THEN pending ELSE 0 END
                    AS pending, \(database.dialect.moment(now)) AS moment
            FROM login_failures WHERE key IN (\(list: keys))
            """
    }

    /// When the counters were read, by the clock that has set them; nil where there are none.
    private static func moment(_ rows: [Row]) throws -> Timestamp? {
        try rows.first?.timestamp("moment")
    }

    /// - Parameter own: tries under way that are the caller's own.
    private static func failures(
        _ rows: [Row], own: Int64 = 0
    ) throws -> [String: LoginFailures] {
        var failures: [String: LoginFailures] = [:]
        for row in rows {
            failures[try row.text("key")] = LoginFailures(
                count: try row.integer("count"), lastAt: try row.timestamp("last_at"),
                underWay: try row.integer("pending") &- own)
        }
        return failures
    }
}

extension Transaction {
    /// Ends a try without a failure, and forgets counters that count nothing.
    fileprivate func giveBack(_ keys: [String]) async throws {
        // One by one, so that all processes lock them in the same order.
        for key in keys {
            try await send(
                """
                UPDATE login_failures SET pending = pending - 1
                WHERE key = \(key) AND pending > 0
                """)
        }
        try await send(
            """
            DELETE FROM login_failures
            WHERE key IN (\(list: keys)) AND count = 0 AND pending = 0
            """)
    }
}

extension LoginThrottle {
    /// The turn key that all attempts from one address share. Attempts at one account take turns
    /// before that, because its passwords are hashed one by one.
    fileprivate var turn: String { "log-ins from " + block }
}
