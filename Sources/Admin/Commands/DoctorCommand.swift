internal import ArgumentParser
internal import EventLoop
internal import Formats
internal import ProxyGPT

/// `doctor`: is all well?
struct Doctor: AdminCommand {
    static let configuration = CommandConfiguration(
        abstract: "Looks for what is wrong: settings, database, permissions, room, processes.",
        discussion: """
            The exit code is 1 where something is broken, 0 where there are but warnings. However large \
            the database is, it looks at part of it, and says at which.
            """)

    @Flag(help: "Ask the upstream, too, which it sees as a call with the key.") var upstream = false
    @OptionGroup var output: OutputOptions

    @EventLoop func run(_ desk: Desk) async throws -> Int32 {
        let running = desk.useSettingsOfService()
        let findings = await Examination(desk, running).findings(asksUpstream: upstream)
        var table = Table("CHECK", "RESULT", "")
        for finding in findings {
            table.add([finding.check, finding.result.rawValue, finding.text])
        }
        desk.show(
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

/// What one check has found.
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
