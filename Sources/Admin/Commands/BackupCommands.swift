internal import ArgumentParser
internal import EventLoop
internal import Formats
internal import Glibc
internal import ProxyGPT
internal import SQLStorage

/// `backup`: a copy of the database while it is in use.
struct Backup: AdminCommand {
    static let configuration = CommandConfiguration(
        abstract: "Copies the database, in use or not, into one file, and checks the copy.",
        discussion: "Reads all of it, twice; nobody waits for that but the checkpoints of the WAL.")

    @Argument(help: "The file to be made.", completion: .file()) var file: String
    @Flag(help: "Replace the file if there is one.") var force = false
    @OptionGroup var output: OutputOptions

    @EventLoop func run(_ desk: Desk) async throws -> Int32 {
        // Still as root, if it is root: the copy is the caller's, wherever the caller wants it. The
        // event comes last, because the live files must not be open in this process before.
        let database = try desk.databaseFile(
            orElse: "use `pg_dump --format=custom --file=\(file) \"$DB_ADDRESS\"`")
        let owner = try Owner(of: desk.settings.stateDirectory)
        try owner.demand()
        // What is not the owner's to exchange is root's to make.
        try owner.becomeIfInHands(file)
        let report = try DatabaseBackup.make(
            of: try SQLStorage.existing(database, mayCreate: false), to: file, replacing: force
        ) { copy in try owner.acting(copy) }
        await desk.note("backup", "\(report.pages) pages")
        desk.show(
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

/// `restore`: a backup becomes the database.
struct Restore: AdminCommand {
    static let configuration = CommandConfiguration(
        abstract: "Puts a backup in the place of the database. The service must be stopped.",
        discussion: "Reads all of it. The database that was there before is kept beside it.")

    @Argument(help: "A file that `backup` has made.", completion: .file()) var file: String
    @Flag(help: "Do not ask.") var yes = false
    @OptionGroup var output: OutputOptions

    @EventLoop func run(_ desk: Desk) async throws -> Int32 {
        // First, since a file that pg_dump has made is none that can be opened here.
        let database = try desk.databaseFile(
            orElse: "stop the service and use "
                + "`pg_restore --clean --if-exists --dbname=\"$DB_ADDRESS\" \(file)`, then, so that "
                + "nothing in Redis is taken for this database's, "
                + "`psql \"$DB_ADDRESS\" -c \"\(SQLStorage.renewal)\"`")
        let owner = try Owner(of: desk.settings.stateDirectory)
        try owner.becomeIfInHands(file)
        // Opened before root becomes somebody who may not read it.
        let source = try DatabaseRestore.Source(file)
        try owner.become()
        if !yes { try desk.console.confirm("Replace \(database) by \(file)?") }
        let directory = try resolved(desk.settings.stateDirectory)
        let report = try DatabaseRestore.run(
            from: source, to: directory + "/proxy.db", now: desk.now)
        await desk.note("restore", "\(report.pages) pages")
        desk.show(
            [
                "database": .string(database), "kept": .text(report.kept),
                "pages": .integer(report.pages), "schema_version": .integer(report.schemaVersion),
            ],
            [
                TerminalText.line("\(file) is the database now, \(report.pages) pages, checked."),
                TerminalText.line(
                    report.kept.map { "What was there before is \($0)." }
                        ?? "There was none before."),
            ])
        return 0
    }

    private func resolved(_ directory: String) throws -> String {
        guard let path = realpath(directory, nil) else { throw SystemError("open \(directory)") }
        defer { free(path) }
        return String(cString: path)
    }
}
