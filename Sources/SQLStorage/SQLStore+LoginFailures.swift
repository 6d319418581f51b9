package import ProxyGPT

// Counters by key. `pending` counts tries that are under way, since `pending_at` without a pause: after
// a while without a moment of rest they are taken for those of a dead process.

extension SQLStore {
    package func beginLogin(
        _ throttle: LoginThrottle, now: Timestamp
    ) async throws -> LoginThrottle.Admission {
        // A look first: what is refused costs no write.
        let seen = throttle.admission(
            try await loginFailures(throttle.keys, now: now), now: now)
        guard seen == .admitted else { return seen }
        let statement = Self.countingTry(throttle.keys, now: now)
        do {
            try await database.transaction { transaction in
                let rows = try await transaction.query(statement)
                let failures = try Self.failures(rows, own: 1)
                let admission = throttle.admission(failures, now: now)
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

    private static func countingTry(_ keys: [String], now: Timestamp) -> SQL {
        let oldest = now.adding(seconds: -LoginThrottle.forgetAfter)
        let abandoned = now.adding(seconds: -LoginThrottle.abandonedAfter)
        let restart: SQL = """
            login_failures.pending <= 0 OR login_failures.pending_at < \(abandoned)
            OR login_failures.pending_at > \(now.adding(seconds: LoginThrottle.abandonedAfter))
            """
        var rows: SQL = ""
        for (index, key) in keys.enumerated() {
            let comma: SQL = index == 0 ? "" : ", "
            rows = "\(rows)\(comma)(\(key), 0, \(now), 1, \(now))"
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
            RETURNING key, count, last_at, pending
            """
    }

    package func failLogin(_ throttle: LoginThrottle, now: Timestamp) async throws {
        let oldest = now.adding(seconds: -LoginThrottle.forgetAfter)
        try await database.transaction { transaction in
            for key in throttle.keys {
                try await transaction.send(
                    """
                    INSERT INTO login_failures (key, count, last_at) VALUES (\(key), 1, \(now))
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
        try await database.transaction { transaction in
            try await transaction.giveBack(throttle.keys)
            try await transaction.send(
                "DELETE FROM login_failures WHERE key IN (\(list: throttle.keysOfSuccess))")
        }
    }

    package func abandonLogin(_ throttle: LoginThrottle) async throws {
        try await database.transaction { try await $0.giveBack(throttle.keys) }
    }

    /// The counters of `keys`; a key that was never counted is absent.
    func loginFailures(
        _ keys: [String], now: Timestamp
    ) async throws -> [String: LoginFailures] {
        let abandoned = now.adding(seconds: -LoginThrottle.abandonedAfter)
        let ahead = now.adding(seconds: LoginThrottle.abandonedAfter)
        let oldest = now.adding(seconds: -LoginThrottle.forgetAfter)
        return try Self.failures(
            await database.query(
                """
                SELECT key, CASE WHEN last_at < \(oldest) THEN 0 ELSE count END AS count, last_at,
                    CASE WHEN pending_at BETWEEN \(abandoned) AND \(ahead) THEN pending ELSE 0 END
                        AS pending
                FROM login_failures WHERE key IN (\(list: keys))
                """))
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
