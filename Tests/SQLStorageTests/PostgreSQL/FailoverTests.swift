internal import EventLoop
internal import ProxyGPT
internal import TestSupport
internal import Testing

@testable internal import SQLStorage

/// A primary, its standby, and what becomes of a pool when that is promoted.
@Suite struct FailoverTests {
    private func origin(_ system: Int64?, _ timeline: Int64) -> PostgresOrigin {
        PostgresOrigin(system: system, timeline: timeline)
    }

    @Test func `an older timeline and another system are refused, a newer one replaces`() {
        let living = origin(7, 2)
        #expect(origin(7, 2).conflict(with: living) == nil)
        #expect(origin(7, 1).conflict(with: living) != nil)
        #expect(origin(7, 3).conflict(with: living) == nil)
        #expect(origin(8, 3).conflict(with: living) != nil)
        #expect(origin(nil, 1).conflict(with: living) != nil)
        #expect(origin(nil, 2).conflict(with: living) == nil)
        #expect(origin(7, 3).replaces(living) != nil)
        #expect(origin(7, 2).replaces(living) == nil)
    }

    private func connections(_ cluster: Cluster, _ name: String) async throws -> [Int64] {
        try await cluster.run(
            """
            SELECT CAST(pid AS BIGINT) AS pid FROM pg_stat_activity
            WHERE datname = '\(name)' AND usename = 'gptio'
            """
        ).map { try $0.integer("pid") }
    }

    @Test func `a pool follows a promoted standby as a whole, though the old primary lives`()
        async throws
    {
        let primary = try Cluster()
        let place = try await Place(on: primary)
        let (_, name) = try #require(place.database)
        try await place.with { _ in }
        let standby = try Cluster("standby-of=\(primary.directory)")

        var configuration = try place.configuration()
        configuration.address = Secret(
            "postgresql://gptio@/\(name)?host=\(standby.directory)&target_session_attrs=any")
        let ofStandby = configuration
        let refusal = await #expect(throws: DatabaseError.self) {
            let storage = try await place.open(ofStandby)
            await storage.close()
        }
        #expect(refusal.map { "\($0)".contains("standby") } == true)

        configuration.address = Secret(
            "postgresql://gptio@/\(name)?host=\(standby.directory),\(primary.directory)")
        try await place.with(configuration) { storage in
            let user = try await storage.addUser("asim").user
            try await eventually { try await connections(primary, name).count == 3 }
            try await eventually {
                try await standby.run(
                    "SELECT id FROM users WHERE id = '\(user.id)'", in: name
                ).count == 1
            }
            try await standby.run("SELECT pg_promote()")
            // Nothing tells of it before a connection is made anew.
            let pid = try #require(try await connections(primary, name).first)
            try await primary.run("SELECT pg_terminate_backend(\(pid))")
            try await eventually { try await connections(standby, name).count == 3 }
            try await eventually { try await connections(primary, name).isEmpty }
            let chat = makeChat(of: user.id)
            try await storage.store.create(chat)
            #expect(
                try await standby.run("SELECT id FROM chats WHERE id = '\(chat.id)'", in: name)
                    .count == 1)
        }
    }
}
