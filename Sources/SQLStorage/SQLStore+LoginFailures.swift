package import ProxyGPT

extension SQLStore {
    package func loginFailures(_ keys: [String]) async throws -> [String: LoginFailures] {
        let rows = try await database.query(
            "SELECT key, count, last_at FROM login_failures WHERE key IN (\(list: keys))")
        var failures: [String: LoginFailures] = [:]
        for row in rows {
            failures[try row.text("key")] = LoginFailures(
                count: try row.integer("count"), lastAt: try row.timestamp("last_at"))
        }
        return failures
    }

    package func countLoginFailure(
        _ keys: [String], now: Timestamp, forgetAfter: Int64
    ) async throws {
        let oldest = now.adding(seconds: -forgetAfter)
        try await database.transaction { transaction in
            for key in keys {
                try await transaction.send(
                    """
                    INSERT INTO login_failures (key, count, last_at) VALUES (\(key), 1, \(now))
                    ON CONFLICT (key) DO UPDATE SET
                        count = CASE WHEN login_failures.last_at < \(oldest) THEN 1
                            ELSE login_failures.count + 1 END,
                        last_at = excluded.last_at
                    """)
            }
            // A few at a time: strangers decide how many there are.
            try await transaction.send(
                """
                DELETE FROM login_failures WHERE key IN (
                    SELECT key FROM login_failures WHERE last_at < \(oldest) LIMIT 100)
                """)
        }
    }

    package func clearLoginFailures(_ keys: [String]) async throws {
        _ = try await database.transaction { transaction in
            try await transaction.execute(
                "DELETE FROM login_failures WHERE key IN (\(list: keys))")
        }
    }
}
