internal import ArgumentParser

@main
struct AdminProgram: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "proxy-gpt-admin")
}
