// Whether the database and the bus's log are of one age. A database that was put back to an earlier
// state, from a snapshot or a copy, lacks messages that the log has frames of: then the log begins
// a new epoch, and older frame ids lead to a reset.
//
// The database counts heartbeats, and the log hears of the count. The count only grows: one that the log
// knows already, or this process, is counted a second time.

internal import EventLoop
internal import Formats
internal import Logging
internal import ProxyGPT

extension ProcessLease {
    /// Raises the count and compares it with the log's. Does nothing where no log can be asked.
    package func compareAges() async {
        guard let bus, let mark = await bus.mark() else { return }
        // Without a server and Redis all is in one directory, and processes keep the file that they have.
        guard mark.storeCount != nil || database.dialect.hasServer else { return }
        let count: Int64
        do {
            guard let counted = try await countHeartbeat() else { return }
            count = counted
        } catch {
            logger.debug("heartbeat not counted", metadata: ["storage.error": "\(error)"])
            return
        }
        let own = lastAge.flatMap { $0.epoch.hasSameBytes(as: mark.epoch) ? $0.count : nil }
        if count > max(mark.storeCount ?? 0, own ?? 0) {
            await bus.keep(storeCount: count, in: mark.epoch)
            lastAge = (count, mark.epoch)
            return
        }
        logger.warning(
            "database was put back to an earlier state: the bus log begins anew",
            metadata: ["bus.epoch": "\(mark.epoch)"])
        // Where that fails the next renewal tries again.
        guard await bus.beginAnew(after: mark.epoch) else { return }
        lastAge = nil
        guard let new = await bus.mark(), !new.epoch.hasSameBytes(as: mark.epoch) else { return }
        await bus.keep(storeCount: count, in: new.epoch)
        lastAge = (count, new.epoch)
    }

    /// The next number; nil where another process is counting just now.
    private func countHeartbeat() async throws -> Int64? {
        let lock = database.dialect.skipLocked
        return try await database.transaction { transaction in
            try await transaction.query(
                """
                UPDATE counters SET value = value + 1
                WHERE name IN (SELECT name FROM counters WHERE name = 'beats' \(unsafe: lock))
                RETURNING value
                """
            ).first?.sequence("value")
        }
    }
}
