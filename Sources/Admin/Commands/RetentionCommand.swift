internal import ArgumentParser
internal import EventLoop
internal import Formats
internal import ProxyGPT
internal import SQLStorage

/// `retention`: what is old goes now, to the last row.
struct Retention: AdminCommand {
    static let configuration = CommandConfiguration(
        abstract: """
            Removes events older than EVENT_ROW_DAYS, bodies older than EVENT_DAYS, ended sessions and \
            deleted chats' messages.
            """,
        discussion: """
            In small transactions, beside the running service, which removes all but the events too, \
            for a second at a time. The usage of whole days is summed up before their events go. For \
            messages of deleted chats all chats are walked. SQLite uses the freed pages again; its file does not shrink.
            """)

    /// Rows of one transaction: some milliseconds.
    private static let batchSize = 500

    @OptionGroup var output: OutputOptions

    @EventLoop func run(_ desk: Desk) async throws -> Int32 {
        let rowDays = Int64(try desk.settings.eventRowDays())
        var days = Int64(try desk.settings.eventDays())
        // No body outlives its row.
        if rowDays > 0 { days = min(days, rowDays) }
        let storage = try await desk.openStorage(eventDays: days, isBackground: true)
        let now = try await storage.store.currentTime(desk.now)
        let mayDelete = try await storage.lease.mayDelete(at: now)
        let orphans = try await markOrphans(storage.store)
        while try await !storage.lease.expire() { await EventLoop.sleep(milliseconds: 2) }
        let count =
            rowDays > 0 && mayDelete
            ? try await removeEvents(
                storage.store, olderThan: now.adding(seconds: -rowDays * 86_400)) : 0
        await desk.note("retention", "EVENT_DAYS=\(days) EVENT_ROW_DAYS=\(rowDays)")
        desk.show(
            [
                "event_days": .integer(days), "event_row_days": .integer(rowDays),
                "events_removed": .integer(Int64(count)), "orphaned_chats": .integer(orphans),
            ],
            [
                TerminalText.line(
                    mayDelete
                        ? "What was kept for \(days) days is removed."
                        : "The clock has jumped forward: nothing that looks old is removed for an hour."
                ),
                TerminalText.line(
                    rowDays > 0
                        ? "\(counted(Int64(count), "event")) older than \(rowDays) days removed."
                        : "Events are kept for ever."),
            ])
        return 0
    }

    /// Earlier releases could forget a deleted chat before all its messages were gone.
    @EventLoop private func markOrphans(_ store: any AdminStore) async throws -> Int64 {
        var count: Int64 = 0
        var start: String? = ""
        while let from = start {
            let startedAt = monotonicMilliseconds()
            let step = try await store.markOrphans(from: from)
            count += Int64(step.chats)
            start = step.rest
            await EventLoop.sleep(milliseconds: max(1, monotonicMilliseconds() - startedAt))
        }
        return count
    }

    /// Leaves the database to others for as long as each step took.
    @EventLoop private func removeEvents(
        _ store: any AdminStore, olderThan oldest: Timestamp
    ) async throws -> Int {
        let end = UUIDText.version7(milliseconds: oldest.milliseconds, counter: 0, random: 0)
        var count = 0
        var start: String? = ""
        while let from = start {
            let startedAt = monotonicMilliseconds()
            let step = try await store.removeEvents(
                from: from, before: end, limit: Self.batchSize)
            count += step.count
            start = step.rest
            await EventLoop.sleep(
                milliseconds: min(1000, max(2, 4 * (monotonicMilliseconds() - startedAt))))
        }
        return count
    }
}
