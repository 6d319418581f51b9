// The common part of the serving programs: settings, signals, sockets and the service manager.
// Routes and draining are each program's own.

package import EventLoop
internal import Glibc
package import Logging
internal import Logs
package import ProxyGPT

/// A process that serves until it is asked to stop.
@EventLoop package final class ServiceProcess {
    /// Asks every part of the process that must stay responsive; the answer is the status, in a few
    /// words.
    package typealias HealthProbe =
        @EventLoop (_ answer: @escaping @Sendable (String) -> Void) -> Void

    /// Exit code of a process that will not start because of its settings (sysexits.h, EX_CONFIG).
    private nonisolated static let configurationError: Int32 = 78
    /// Exit code after a wrong command line (EX_USAGE).
    private nonisolated static let usageError: Int32 = 64

    package let settings: Settings
    package let logger: Logger
    private let manager: Settings.ServiceManager
    private let notifier: ServiceNotifier
    private var signals: Signals?
    private var stopping: UnsafeContinuation<Void, Never>?
    private var stopSignals = 0

    private init(_ settings: Settings, _ manager: Settings.ServiceManager, _ logger: Logger) {
        self.settings = settings
        self.manager = manager
        self.logger = logger
        notifier = ServiceNotifier(manager, logger)
    }

    /// Runs `body` on the event loop once the settings are found valid, and ends the process with
    /// an exit code of 1 when it throws. With `--check` the settings are checked and nothing runs.
    ///
    /// - Parameters:
    ///   - purpose: the program's purpose, in a sentence for `--help`.
    ///   - demandsSocket: whether it serves only on a socket that it is given.
    package nonisolated static func main(
        _ name: String, purpose: String, demandsSocket: Bool = false,
        _ body: @escaping @EventLoop (ServiceProcess) async throws -> Void
    ) {
        let arguments = Array(CommandLine.arguments.dropFirst())
        switch arguments {
        case [], ["--check"]: break
        case ["--version"]:
            print("proxy-gpt-\(name) \(Product.version)")
            exit(0)
        case ["--help"], ["-h"]:
            print("\(purpose)\n\n\(usage(name))")
            exit(0)
        default:
            LogOutput.standardError.write(usage(name) + "\n")
            exit(usageError)
        }
        umask(0o077)
        Signals.ignoreFailedWrites()
        let manager = Settings.ServiceManager()
        if demandsSocket, arguments.isEmpty, !isGivenSocket(named: name, manager) {
            LogOutput.standardError.write(
                "proxy-gpt-\(name) serves on a socket that it is given, as standard input or by "
                    + "systemd. Start the whole service: make run, or "
                    + "systemctl start proxy-gpt.target\n")
            exit(usageError)
        }
        let settings: Settings
        do {
            settings = try Settings.fromEnvironment()
        } catch {
            LogOutput.standardError.write("proxy-gpt-\(name) does not start:\n\(error)\n")
            exit(configurationError)
        }
        let nearMisses = Settings.nearMisses()
        if !arguments.isEmpty {
            for problem in nearMisses { LogOutput.standardError.write(problem + "\n") }
            exit(0)
        }
        let logger = Logs.logger(
            "proxy-gpt-\(name)", level: settings.logLevel, format: settings.logFormat.rawValue,
            journalStream: manager.journalStream)
        for problem in nearMisses {
            logger.warning("unknown setting", metadata: ["settings.problem": "\(problem)"])
        }
        Signals.block([SIGTERM, SIGINT])
        raiseDescriptorLimit()
        EventLoop.run {
            do {
                try await body(ServiceProcess(settings, manager, logger))
            } catch {
                logger.critical("\(name) failed", metadata: ["error": "\(error)"])
                endProcess(1)
            }
            logger.info("\(name) stopped")
            endProcess(0)
        }
    }

    private nonisolated static func usage(_ name: String) -> String {
        """
        usage: proxy-gpt-\(name) [--check | --version | --help]
          --check    look at the settings and start nothing
        Settings come from the environment, see proxy-gpt(5).
        """
    }

    private nonisolated static func isGivenSocket(
        named name: String, _ manager: Settings.ServiceManager
    ) -> Bool {
        if manager.descriptorNames?.contains(name) == true { return true }
        var status = stat()
        return fstat(0, &status) == 0 && status.st_mode & S_IFMT == S_IFSOCK
    }

    /// Connections, streams and upstream calls take a descriptor each.
    private nonisolated static func raiseDescriptorLimit() {
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return }
        limit.rlim_cur = limit.rlim_max
        setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    }

    /// Begins to listen for the signals that stop the process, even before it is ready.
    package func awaitSignals() throws {
        signals = try Signals([SIGTERM, SIGINT]) { [weak self] in self?.received($0) }
    }

    /// Reports that the process serves, and returns when it is asked to stop. From now on, and
    /// while it drains, the service manager gets reports as long as `probe` is answered.
    /// - Parameter isProbedInDrain: false where the probed parts end before the drain is over.
    package func serve(isProbedInDrain: Bool = true, probe: @escaping HealthProbe) async {
        logger.info("ready", metadata: ["process.id": "\(getpid())"])
        notifier.start(probe)
        await withUnsafeContinuation { continuation in
            if stopSignals == 0 { stopping = continuation } else { continuation.resume() }
        }
        notifier.stop(goesOn: isProbedInDrain)
    }

    private func received(_ signal: Int32) {
        stopSignals += 1
        // Asked twice, or interrupted at a keyboard, it does not wait for long calls.
        if stopSignals > 1 { endProcess(signal == SIGINT ? 130 : 143) }
        stopping?.resume()
        stopping = nil
    }

    /// The socket that the service manager has passed under this name.
    package func descriptor(named name: String) -> Int32? {
        (manager.descriptorNames ?? []).firstIndex(of: name).map { 3 + Int32($0) }
    }

    /// Calls `action` again and again, with a pause after its end, until the task is cancelled.
    package nonisolated static func tick(
        every milliseconds: Int64, _ action: @escaping @EventLoop () async -> Void
    ) -> Task<Void, Never> {
        EventLoop.spawn {
            while !Task.isCancelled {
                await EventLoop.sleep(milliseconds: milliseconds)
                await action()
            }
        }
    }
}
