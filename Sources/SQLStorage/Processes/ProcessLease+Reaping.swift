// The end of dead processes: their rows are closed, and their last frames are published.

internal import EventLoop
internal import Logging
internal import ProxyGPT

extension ProcessLease {
    /// Publishes the last frames of messages that a dead process has ended. A process ends a
    /// message in the store first and on the bus after that, and may have been killed in between.
    /// The bus passes over frames that it has already.
    func republishFinalFrames(of dead: ProcessRecord, except published: Set<Message.ID>)
        async
    {
        let heartbeat = dead.heartbeat.milliseconds
        func id(_ offset: Int64) -> String {
            UUIDText.version7(
                milliseconds: max(0, heartbeat &+ offset), counter: 0, random: 0)
        }
        // Ids hold the time at which a message began, by a clock that may have been set meanwhile;
        // in steps, so that no read takes long.
        let step: Int64 = 300_000
        // Where the heartbeat is by the database's clock, that of the dead may have been another.
        let margin: Int64 = database.dialect.clock == nil ? 1000 : 60_000
        let since = Timestamp(milliseconds: heartbeat &- margin)
        do {
            for offset in stride(
                from: -BusStatements.idleLimit, to: BusStatements.idleLimit, by: Int(step))
            {
                let rows = try await database.query(
                    """
                    SELECT \(unsafe: Message.columns) FROM messages
                    WHERE id >= \(id(offset)) AND id < \(id(offset + step)) AND process = \(dead.id)
                        AND state NOT IN ('pending', 'streaming') AND updated_at >= \(since)
                    """)
                for message in try rows.map(Message.init(row:))
                where !published.contains(message.id) {
                    replyWasClosed?(message)
                }
            }
        } catch {
            logger.error("final frames not republished", metadata: ["storage.error": "\(error)"])
        }
    }
}

/// The rows that were closed in the place of dead processes.
struct ReapedRows: Sendable {
    var processes: [ProcessRecord] = []
    var events = 0
    var messages: [Message] = []
}

extension Transaction {
    /// Removes dead processes from the table, unless they have renewed their lease meanwhile, and
    /// closes the rows that no process owns any more.
    func reapExpiredProcesses(
        _ dead: [ProcessRecord], now: Timestamp, if hasSettled: String
    ) async throws -> ReapedRows {
        var reaped: [ProcessRecord] = []
        // A larger number was cut down when it was read, and is no time of any clock.
        let limit = Row.integerLimit - 1
        for process in dead {
            let count = try await execute(
                """
                DELETE FROM processes WHERE id = \(process.id) AND \(unsafe: hasSettled)
                    AND (heartbeat = \(process.heartbeat)
                        OR heartbeat NOT BETWEEN \(-limit) AND \(limit))
                """)
            if count > 0 { reaped.append(process) }
        }
        let events = try await execute(
            """
            UPDATE events SET "end" = \(Event.End.error.rawValue)
            WHERE "end" IS NULL AND process NOT IN (SELECT id FROM processes)
            """)
        let failure = ReplyFailure(.unavailable, "The process that ran the reply has died.")
        let messages = try await query(
            """
            UPDATE messages SET state = \(Message.State.failed.rawValue),
                error = \(failure.text), updated_at = \(now)
            WHERE state IN ('pending', 'streaming')
                AND process NOT IN (SELECT id FROM processes)
            RETURNING \(unsafe: Message.columns)
            """
        ).map(Message.init(row:))
        for chat in Set(messages.map(\.chatID)) { _ = try await countContextVersion(of: chat) }
        return ReapedRows(processes: reaped, events: events, messages: messages)
    }
}
