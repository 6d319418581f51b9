internal import ArgumentParser
internal import EventLoop
internal import Formats
internal import Glibc
internal import ProxyGPT
internal import SQLStorage

/// `backup`: copies the database, which may be in use.
struct Backup: AdminCommand {
    static let configuration = CommandConfiguration(
        abstract: "Copies the database, which may be in use, into one file, and checks the copy.",
        discussion: "Reads the whole database twice. Only checkpoints of the WAL wait meanwhile.")

    @Argument(help: "The file to be made.", completion: .file()) var file: String
    @Flag(help: "Replace the file if there is one.") var force = false
    @OptionGroup var output: OutputOptions

    @EventLoop func run(_ context: CommandContext) async throws -> Int32 {
        // The copy is made with the caller's rights, so that it may be anywhere. The event is recorded
        // last, because the live files must not be open in this process during the backup.
        let database = try context.databaseFile(
            orElse: "use `pg_dump --format=custom --file=\(file) \"$DB_ADDRESS\"`")
        let owner = try Owner(of: context.settings.stateDirectory)
        try owner.demand()
        // Root makes the file only where the owner cannot exchange a directory on its path.
        try owner.becomeIfWritable(file)
        let report = try DatabaseBackup.make(
            of: try SQLStorage.existing(database, mayCreate: false), to: file, replacing: force
        ) { copy in try owner.acting(copy) }
        await context.note("backup", "\(report.pages) pages")
        context.show(
            [
                "file": .string(file), "pages": .integer(report.pages),
                "bytes": .integer(report.bytes), "wal_bytes": .integer(report.walBytes),
                "schema_version": .integer(report.schemaVersion),
                "milliseconds": .integer(report.milliseconds),
            ],
            [
                TerminalText.line(
                    "\(file): \(report.pages) pages, \(report.bytes) bytes, checked, in "
                        + "\(report.milliseconds) ms.")
            ])
        return 0
    }
}

/// `restore`: replaces the database by a backup.
struct Restore: AdminCommand {
    static let configuration = CommandConfiguration(
        abstract: "Replaces the database by a backup. The service must be stopped.",
        discussion: "Reads the whole backup. The previous database is kept beside the new one.")

    @Argument(help: "A file that `backup` has made.", completion: .file()) var file: String
    @Flag(help: "Do not ask.") var yes = false
    @OptionGroup var output: OutputOptions

    @EventLoop func run(_ context: CommandContext) async throws -> Int32 {
        // Checked first, since a file of pg_dump cannot be opened here.
        let database = try context.databaseFile(
            orElse: "stop the service and use "
                + "`pg_restore --clean --if-exists --dbname=\"$DB_ADDRESS\" \(file)`, then, so that "
                + "nothing in Redis is taken for this database's, "
                + "`psql \"$DB_ADDRESS\" -c \"\(SQLStorage.renewal)\"`")
        let owner = try Owner(of: context.settings.stateDirectory)
        try owner.becomeIfWritable(file)
        // Opened while this process may read it: the owner of the directory may not.
        let source = try DatabaseRestore.Source(file)
        try owner.become()
        if !yes { try context.console.confirm("Replace \(database) by \(file)?") }
        let directory = try resolved(context.settings.stateDirectory)
        let report = try DatabaseRestore.run(
            from: source, to: directory + "/proxy.db", now: context.now)
        await context.note("restore", "\(report.pages) pages")
        context.show(
            [
                "database": .string(database), "kept": .text(report.kept),
                "pages": .integer(report.pages), "schema_version": .integer(report.schemaVersion),
            ],
            [
                TerminalText.line("\(file) is the database now, \(report.pages) pages, checked."),
                TerminalText.line(
                    report.kept.map { "The previous database is \($0)." }
                        ?? "There was no database before."),
            ])
        return 0
    }

    private func resolved(_ directory: String) throws -> String {
        guard let path = realpath(directory, nil) else { throw SystemError("open \(directory)") }
        defer { free(path) }
        return String(cString: path)
    }
}
