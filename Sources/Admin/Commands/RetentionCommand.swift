internal import ArgumentParser
internal import EventLoop
internal import Formats
internal import ProxyGPT
internal import SQLStorage

/// `retention`: removes everything that has outlived its retention time.
struct Retention: AdminCommand {
    static let configuration = CommandConfiguration(
        abstract: """
            Removes events older than EVENT_ROW_DAYS, bodies older than EVENT_DAYS, ended sessions and \
            deleted chats' messages.
            """,
        discussion: """
            Runs in small transactions and may run beside the service. The service itself removes the \
            same rows, except events, for a second at a time. The usage of whole days is summed up before \
            their events are removed. All chats are read to find messages of deleted ones. SQLite uses the \
            freed pages again; its file does not shrink.
            """)

    /// Rows of one transaction, which takes some milliseconds.
    private static let batchSize = 500

    @OptionGroup var output: OutputOptions

    @EventLoop func run(_ context: CommandContext) async throws -> Int32 {
        let rowDays = Int64(try context.settings.eventRowDays())
        var days = Int64(try context.settings.eventDays())
        // No body outlives its row.
        if rowDays > 0 { days = min(days, rowDays) }
        let storage = try await context.openStorage(eventDays: days, isBackground: true)
        let now = try await storage.store.currentTime(context.now)
        let mayDelete = try await storage.lease.mayDelete(at: now)
        let orphans = try await markOrphans(storage.store)
        while try await !storage.lease.expire() { await EventLoop.sleep(milliseconds: 2) }
        let count =
            rowDays > 0 && mayDelete
            ? try await removeEvents(
                storage.store, olderThan: now.adding(seconds: -rowDays * 86_400)) : 0
        await context.note("retention", "EVENT_DAYS=\(days) EVENT_ROW_DAYS=\(rowDays)")
        context.show(
            [
                "event_days": .integer(days), "event_row_days": .integer(rowDays),
                "events_removed": .integer(Int64(count)), "orphaned_chats": .integer(orphans),
            ],
            [
                TerminalText.line(
                    mayDelete
                        ? "Bodies older than \(days) days are removed."
                        : "The clock has jumped forward: nothing is removed for an hour."
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

    /// Pauses after each step, so that other processes get most of the database's time.
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
