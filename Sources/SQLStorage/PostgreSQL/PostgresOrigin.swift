// The server that a connection leads to. After a failover an old primary may go on serving beside
// the promoted standby: a service that writes to both loses the rows on the one that goes down.

internal import EventLoop
internal import ProxyGPT

/// A server's history, as far as an ordinary user may read it.
struct PostgresOrigin: Sendable, Equatable {
    /// The same for a primary and its standbys; nil where the server does not report it.
    var system: Int64?
    /// Rises with each promotion.
    var timeline: Int64

    /// The objection to a connection of this origin beside living ones of another; nil where there
    /// is none.
    func conflict(with living: PostgresOrigin) -> DatabaseError? {
        if let system, let other = living.system, system != other {
            return DatabaseError(
                .connection, "the address leads to another database system than before",
                during: "connect")
        }
        guard timeline < living.timeline else { return nil }
        return DatabaseError(
            .connection,
            "the server is an old primary: its timeline is \(timeline), that of others "
                + "\(living.timeline)", during: "connect")
    }

    /// Why a living connection ends when there is one of this origin; nil where it goes on.
    func replaces(_ living: PostgresOrigin) -> DatabaseError? {
        guard timeline > living.timeline else { return nil }
        return DatabaseError(
            .connection,
            "a standby has been promoted: timeline \(timeline) follows \(living.timeline)",
            during: "wait")
    }

    // MARK: - Reading it

    /// The segment that is written to begins with the timeline's eight hexadecimal digits.
    private static let timeline = "substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)"
    /// From the most that may be asked to the least.
    private static let questions = [
        "SELECT \(timeline) AS timeline, (SELECT system_identifier FROM pg_control_system()) AS system",
        "SELECT \(timeline) AS timeline, NULL AS system",
    ]

    /// Asks the server; nil where it only speaks the protocol of PostgreSQL.
    @EventLoop static func read(
        _ connection: PostgresConnection, within limit: Int64
    ) async throws -> PostgresOrigin? {
        for question in questions {
            do {
                let answers = try await connection.run(
                    [PostgresStatement(question)], within: limit, prepares: false)
                guard let row = answers.first?.rows.first,
                    let timeline = Int64(try row.text("timeline"), radix: 16)
                else { return nil }
                return PostgresOrigin(
                    system: try row.optionalInteger("system"), timeline: timeline)
            } catch let error as DatabaseError where error.kind == .other {
                continue
            }
        }
        return nil
    }
}
