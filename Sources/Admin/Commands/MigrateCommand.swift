internal import ArgumentParser
internal import EventLoop
internal import Formats
internal import Glibc
internal import ProxyGPT
internal import SQLStorage

/// `migrate`: an installation moves from SQLite to PostgreSQL.
struct Migrate: AdminCommand {
    static let configuration = CommandConfiguration(
        abstract: "Moves everything from SQLite to the PostgreSQL database of DB_ADDRESS.",
        discussion: """
            The service must be stopped. Everything is read, in small parts. The SQLite file stays as it is. After an interruption the same command \
            goes on where it was. When all is copied, both databases are compared row by row; until then no \
            worker starts on the new one.
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

    @EventLoop func run(_ desk: Desk) async throws -> Int32 {
        guard case .postgreSQL = try desk.settings.database() else {
            throw CommandError(
                "DB_ADDRESS does not name a PostgreSQL database, where everything should go")
        }
        try Owner(ofWayTo: file).become()
        let target = try await desk.openStorage(mayBeIncomplete: true)
        let showsProgress = isatty(2) == 1 && !desk.showsJSON
        var told = ""
        let report = try await DatabaseMove.run(
            from: file, to: target, identifiers: desk.identifiers, clock: desk.clock,
            logger: desk.logger
        ) { table, rows, compares in
            guard showsProgress else { return }
            let stage = "\(compares ? "comparing" : "copying") \(table)"
            if stage == told, rows % 10_000 > 2000 { return }
            told = stage
            Console.note("\(stage): \(rows)")
        }
        await desk.note("migrate", "\(report.tables.reduce(0) { $0 + $1.rows }) rows")
        show(report, desk)
        return 0
    }

    @EventLoop private func show(_ report: DatabaseMove.Report, _ desk: Desk) {
        var table = Table("TABLE", ">ROWS")
        for (name, rows) in report.tables { table.add([name, "\(rows)"]) }
        desk.show(
            [
                "tables": .object(
                    report.tables.map { ($0.name, .integer(Int64($0.rows))) })
            ],
            table.lines + [
                "All rows are the same on both sides. Give the service this DB_ADDRESS, and start it."
            ])
    }
}
