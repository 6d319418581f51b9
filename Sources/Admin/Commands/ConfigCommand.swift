internal import ArgumentParser
internal import EventLoop
internal import Formats
internal import ProxyGPT

/// `config`: the settings in force and their origins.
struct Config: AdminCommand {
    static let configuration = CommandConfiguration(
        abstract: "Shows the settings in force and the origin of each. Secrets are not shown.")

    @Flag(help: "Check whether the service would start with the settings; show none.")
    var check = false
    @OptionGroup var output: OutputOptions

    /// The exit code of `--check` where a setting is wrong (sysexits.h, EX_CONFIG).
    private static let configurationError: Int32 = 78

    @EventLoop func run(_ context: CommandContext) async throws -> Int32 {
        if check { return try checkSettings(context) }
        let running = context.useSettingsOfService()
        let settings = context.settings
        var table = Table("NAME", "VALUE", "FROM", "MEANING")
        var json: [JSONValue] = []
        for entry in Settings.table {
            let value = settings.value(entry.name)
            let shown = Self.isHidden(entry, value) ? "<redacted>" : value
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
        context.show(
            [
                "place": .string("\(settings.place)"), "settings": .array(json),
                "problems": .list(problems.map { .string($0) }),
            ], [TerminalText.line("Settings of \(settings.place):"), ""] + table.lines)
        for problem in problems { Console.report(CommandError(problem)) }
        if let running, !running.differing.isEmpty {
            Console.note(
                TerminalText.line(
                    "The service runs with other values than \(running.place) says, until it is "
                        + "restarted: \(running.differing.joined(separator: ", "))."))
        }
        return problems.isEmpty ? 0 : 1
    }

    /// Whether the value is hidden. An address is, too, that has a name and password by mistake.
    private static func isHidden(_ entry: Settings.Entry, _ value: String) -> Bool {
        if value.isEmpty || entry.isSecret { return !value.isEmpty }
        return entry.name == "API_URL" && value.utf8.contains(UInt8(ascii: "@"))
    }

    /// Shows everything that would keep the service from starting, and names that look like typing errors.
    @EventLoop private func checkSettings(_ context: CommandContext) throws -> Int32 {
        var problems = try OperatorSettings.problemsOfFile()
        do {
            _ = try context.settings.whole()
        } catch {
            problems += error.all
        }
        for problem in Settings.nearMisses() + problems { Console.report(CommandError(problem)) }
        context.show(
            ["problems": .list(problems.map { .string($0) })],
            problems.isEmpty
                ? [TerminalText.line("The settings of \(context.settings.place) are valid.")] : [])
        return problems.isEmpty ? 0 : Self.configurationError
    }
}
