internal import ArgumentParser
internal import EventLoop
internal import Formats
internal import ProxyGPT

/// `config`: what is in force, and where it was said.
struct Config: AdminCommand {
    static let configuration = CommandConfiguration(
        abstract: "Shows the settings in force and where each came from. Secrets are not shown.")

    @Flag(help: "Look whether the service would start with the settings as they are, show none.")
    var check = false
    @OptionGroup var output: OutputOptions

    /// Exit code of `--check` where something is wrong (sysexits.h, EX_CONFIG).
    private static let configurationError: Int32 = 78

    @EventLoop func run(_ desk: Desk) async throws -> Int32 {
        if check { return try look(desk) }
        let running = desk.useSettingsOfService()
        let settings = desk.settings
        var table = Table("NAME", "VALUE", "FROM", "MEANING")
        var json: [JSONValue] = []
        for entry in Settings.table {
            let value = settings.value(entry.name)
            let shown = Self.mayHide(entry, value) ? "<redacted>" : value
            let origin = settings.source.origins[entry.name] ?? .fallback
            table.add([entry.name, shown, origin.rawValue, entry.meaning])
            json.append([
                "name": .string(entry.name), "value": .string(shown),
                "is_secret": .boolean(entry.isSecret), "origin": .string(origin.rawValue),
            ])
        }
        var problems: [String] = []
        do {
            _ = try settings.whole()
        } catch {
            problems = error.all
        }
        desk.show(
            [
                "place": .string("\(settings.place)"), "settings": .array(json),
                "problems": .list(problems.map { .string($0) }),
            ], [TerminalText.line("Settings of \(settings.place):"), ""] + table.lines)
        for problem in problems { Console.complain(CommandError(problem)) }
        if let running, !running.differing.isEmpty {
            Console.note(
                TerminalText.line(
                    "What the service has otherwise than \(running.place) says, until it is "
                        + "restarted: \(running.differing.joined(separator: ", "))."))
        }
        return problems.isEmpty ? 0 : 1
    }

    /// A name and a password in an address that has no place for them are hidden as well.
    private static func mayHide(_ entry: Settings.Entry, _ value: String) -> Bool {
        if value.isEmpty || entry.isSecret { return !value.isEmpty }
        return entry.name == "API_URL" && value.utf8.contains(UInt8(ascii: "@"))
    }

    /// Tells everything that would keep the service from starting, and what is doubtful.
    @EventLoop private func look(_ desk: Desk) throws -> Int32 {
        var problems = try OperatorSettings.problemsOfFile()
        do {
            _ = try desk.settings.whole()
        } catch {
            problems += error.all
        }
        for problem in Settings.nearMisses() + problems { Console.complain(CommandError(problem)) }
        desk.show(
            ["problems": .list(problems.map { .string($0) })],
            problems.isEmpty
                ? [TerminalText.line("The settings of \(desk.settings.place) are valid.")] : [])
        return problems.isEmpty ? 0 : Self.configurationError
    }
}
