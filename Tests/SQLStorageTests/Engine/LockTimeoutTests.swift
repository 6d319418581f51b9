internal import ProxyGPT
internal import TestSupport
internal import Testing

@testable internal import SQLStorage

/// How long sessions wait for locks.
@Suite struct LockTimeoutTests {
    @Test(arguments: [
        ("?options=-c%20lock_timeout%3D2s", "2s"), ("?options=-clock_timeout%3D0", "0"),
        ("?options=--lock-timeout%3D7000%20-c%20jit%3Don", "7000"),
        ("?options=-c%20lock_timeout%3D1s%20-c%20lock_timeout%3D3s", "3s"), ("", nil),
        ("?options=-c%20deadlock_timeout%3D2s", nil),
        ("?options=-c%20lock_timeout%3D'1%3B2'", nil),
    ])
    func `an address may say how long a lock is waited for`(
        query: String, expected: String?
    ) {
        let address = Secret("postgresql://u@/d\(query)")
        #expect(PostgresHandle.lockTimeout(in: address) == expected)
    }

    @Test(arguments: [true, false])
    func `sessions wait half a second for a lock, or as long as the address says`(
        prepares: Bool
    ) async throws {
        let place = try await Place(.postgreSQL)
        let (cluster, name) = try #require(place.database)
        for (options, expected) in [("", "500ms"), ("&options=-c%20lock_timeout%3D2s", "2s")] {
            var configuration = PostgresPool.Configuration(
                address: Secret(cluster.address(of: name).revealed + options), size: 1)
            configuration.prepares = prepares
            configuration.grace = 15_000
            try await place.with(configuration) { storage in
                let rows = try await storage.database.transaction { transaction in
                    try await transaction.query(
                        "SELECT current_setting('lock_timeout') AS timeout")
                }
                #expect(try rows.first?.text("timeout") == expected)
            }
        }
    }
}
