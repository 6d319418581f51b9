// proxy-gpt-admin: the operator's commands over the database of the service, which may be running.
// Reads arguments and shows answers. The store has the rules and the statements.

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
                    Retention.self, OpenAPI.self, DocumentSettings.self, DocumentAPI.self,
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
            let context = try CommandContext(showsJSON: command.output.json)
            let code: Int32
            do {
                code = try await command.run(context)
            } catch {
                Console.report(error)
                code = 1
            }
            context.console.flush()
            await context.close()
            return code
        } catch {
            Console.report(error)
            return 1
        }
    }
}

/// The form of the output, which every command has.
struct OutputOptions: ParsableArguments {
    @Flag(help: "Answer in JSON, for programs.") var json = false
}

/// A command of proxy-gpt-admin.
protocol AdminCommand: ParsableCommand, Sendable {
    var output: OutputOptions { get }

    /// Runs the command and returns the exit code. A thrown error is shown, and the exit code is 1.
    @EventLoop func run(_ context: CommandContext) async throws -> Int32
}
