internal import ArgumentParser
internal import EventLoop
internal import Formats
internal import ProxyGPT

/// `doctor`: checks an installation.
struct Doctor: AdminCommand {
    static let configuration = CommandConfiguration(
        abstract: "Checks settings, database, permissions, disk space and processes.",
        discussion: """
            The exit code is 1 where something is broken, 0 where there are only warnings. Of a large \
            database a part is checked; the output says which.
            """)

    @Flag(help: "Check the upstream as well, by one call with the key.") var upstream = false
    @OptionGroup var output: OutputOptions

    @EventLoop func run(_ context: CommandContext) async throws -> Int32 {
        let running = context.useSettingsOfService()
        let findings = await DoctorChecks(context, running).findings(asksUpstream: upstream)
        var table = Table("CHECK", "RESULT", "")
        for finding in findings {
            table.add([finding.check, finding.result.rawValue, finding.text])
        }
        context.show(
            [
                "checks": .list(
                    findings.map { finding in
                        [
                            "check": .string(finding.check),
                            "result": .string(finding.result.rawValue),
                            "text": .string(finding.text),
                        ]
                    })
            ], table.lines)
        return findings.contains { $0.result == .broken } ? 1 : 0
    }
}

/// The result of one check.
struct Finding: Equatable {
    enum Result: String {
        case ok, warning, broken
    }

    let check: String
    let result: Result
    let text: String

    init(_ check: String, _ result: Result, _ text: String) {
        self.check = check
        self.result = result
        self.text = text
    }
}
