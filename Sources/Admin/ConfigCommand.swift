internal import ArgumentParser
internal import EventLoop
internal import ProxyGPT

/// `config`: what is in force, and where it was said.
struct Config: AdminCommand {
    static let configuration = CommandConfiguration(
        abstract: "Shows the settings in force and where each came from. Secrets are not shown.")

    @OptionGroup var output: OutputOptions

    @EventLoop func run(_ desk: Desk) async throws -> Int32 {
        let settings = desk.settings
        var table = Table("NAME", "VALUE", "FROM", "MEANING")
        var json: [JSONValue] = []
        for entry in Settings.table {
            let value = settings.value(entry.name)
            let shown = entry.isSecret && !value.isEmpty ? "<redacted>" : value
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
        return problems.isEmpty ? 0 : 1
    }
}
