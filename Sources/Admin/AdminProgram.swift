// proxy-gpt-admin: the operator's commands over the database of the service, which may be running.
// Reads arguments, shows answers. What may be done and how is the store's.

internal import ArgumentParser
internal import EventLoop
internal import Glibc
internal import ProxyGPT

@main
struct AdminProgram: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "proxy-gpt-admin",
        abstract: "Administers Proxy GPT.",
        discussion: """
            Works on the database that the environment names (STATE_DIRECTORY or DB_ADDRESS), else on that of the \
            installed service; the service may be running. Users are named by name or id.
            """,
        version: "proxy-gpt-admin \(Product.version)",
        groupedSubcommands: [
            CommandGroup(
                name: "Users",
                subcommands: [
                    List.self, ShowUser.self, Create.self, Reset.self, Disable.self, Enable.self,
                    Delete.self, Sessions.self,
                ]),
            CommandGroup(name: "Conversations", subcommands: [Chats.self, Messages.self]),
            CommandGroup(name: "Records", subcommands: [Events.self, ShowUsage.self]),
            CommandGroup(
                name: "Service",
                subcommands: [
                    Config.self, Doctor.self, Backup.self, Restore.self, Migrate.self,
                    Retention.self, DocumentSettings.self,
                ]),
        ])

    static func main() {
        umask(0o077)
        signal(SIGXFSZ, SIG_IGN)
        do {
            var command = try parseAsRoot()
            guard let ours = command as? any AdminCommand else {
                try command.run()
                return
            }
            EventLoop.run { endProcess(await run(ours)) }
        } catch {
            exit(withError: error)
        }
    }

    @EventLoop private static func run(_ command: any AdminCommand) async -> Int32 {
        do {
            let desk = try Desk(showsJSON: command.output.json)
            let code: Int32
            do {
                code = try await command.run(desk)
            } catch {
                Console.complain(error)
                code = 1
            }
            desk.console.flush()
            await desk.close()
            return code
        } catch {
            Console.complain(error)
            return 1
        }
    }
}

/// How all commands may answer.
struct OutputOptions: ParsableArguments {
    @Flag(help: "Answer in JSON, for programs.") var json = false
}

/// One of our commands.
protocol AdminCommand: ParsableCommand, Sendable {
    var output: OutputOptions { get }

    /// Does what the command says and returns the exit code. What it throws is shown, with code 1.
    @EventLoop func run(_ desk: Desk) async throws -> Int32
}
