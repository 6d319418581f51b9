internal import ArgumentParser
internal import EventLoop
internal import ProxyGPT
internal import SQLStorage

/// `retention`: what is old goes now, to the last row.
struct Retention: AdminCommand {
    static let configuration = CommandConfiguration(
        abstract:
            "Removes bodies older than EVENT_DAYS, ended sessions and deleted chats' messages.",
        discussion: """
            In small transactions, beside the running service, which does the same for a second at a time. SQLite \
            uses the freed pages again; its file does not shrink.
            """)

    @OptionGroup var output: OutputOptions

    @EventLoop func run(_ desk: Desk) async throws -> Int32 {
        let days = Int64(try desk.settings.eventDays())
        let storage = try await desk.openStorage(eventDays: days)
        while try await !storage.lease.expire() {}
        await desk.note("retention", "EVENT_DAYS=\(days)")
        desk.show(
            ["event_days": .integer(days)],
            [TerminalText.line("What was kept for \(days) days is removed.")])
        return 0
    }
}
