internal import ArgumentParser
internal import EventLoop
internal import Formats
internal import Glibc
internal import ProxyGPT
internal import SQLStorage

/// `migrate`: moves an installation from SQLite to PostgreSQL.
struct Migrate: AdminCommand {
    static let configuration = CommandConfiguration(
        abstract: "Moves everything from SQLite to the PostgreSQL database of DB_ADDRESS.",
        discussion: """
            The service must be stopped. All rows are read, in small batches. The SQLite file is not changed. \
            After an interruption the same command continues where it stopped. After the copy both databases \
            are compared row by row; until then no worker starts on the new one.
            """)

    @Option(
        help: "The SQLite file, with or without `sqlite:` before it.", completion: .file())
    var from: String
    @OptionGroup var output: OutputOptions

    private var file: String {
        from.hasPrefix("sqlite:") ? String(from.dropFirst("sqlite:".count)) : from
    }

    func validate() throws {
        guard !file.isEmpty else { throw ValidationError("--from names no file.") }
    }

    @EventLoop func run(_ context: CommandContext) async throws -> Int32 {
        guard case .postgreSQL = try context.settings.database() else {
            throw CommandError(
                "DB_ADDRESS does not name a PostgreSQL database to move to")
        }
        try Owner(ofPathTo: file).become()
        let target = try await context.openStorage(mayBeIncomplete: true)
        let showsProgress = isatty(2) == 1 && !context.showsJSON
        var shownStage = ""
        let report = try await DatabaseMove.run(
            from: file, to: target, identifiers: context.identifiers, clock: context.clock,
            logger: context.logger
        ) { table, rows, compares in
            guard showsProgress else { return }
            let stage = "\(compares ? "comparing" : "copying") \(table)"
            if stage == shownStage, rows % 10_000 > 2000 { return }
            shownStage = stage
            Console.note("\(stage): \(rows)")
        }
        await context.note("migrate", "\(report.tables.reduce(0) { $0 + $1.rows }) rows")
        show(report, context)
        return 0
    }

    @EventLoop private func show(_ report: DatabaseMove.Report, _ context: CommandContext) {
        var table = Table("TABLE", ">ROWS")
        for (name, rows) in report.tables { table.add([name, "\(rows)"]) }
        context.show(
            [
                "tables": .object(
                    report.tables.map { ($0.name, .integer(Int64($0.rows))) })
            ],
            table.lines + [
                "All rows are the same on both sides. Give the service this DB_ADDRESS, and start it."
            ])
    }
}
