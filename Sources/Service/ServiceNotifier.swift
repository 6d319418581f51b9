internal import EventLoop
internal import Glibc
internal import Logging
internal import ProxyGPT

/// Reports to the service manager, where there is one (sd_notify(3)): that the process is ready,
/// that it stops, its status, and that it has not hung.
@EventLoop final class ServiceNotifier {
    /// Milliseconds between reports where no watchdog asks for shorter ones.
    private static let interval: Int64 = 2000

    /// Open from the start: a process that is out of descriptors lives, and must be able to report
    /// it.
    private let manager: (socket: DatagramSocket, address: Sockets.UnixAddress)?
    private let watchdog: Int64?
    private let logger: Logger
    private var reports: Task<Void, Never>?
    private var hasAnswered = true
    private var status = ""
    private var isStopping = false
    private var wasHeard = false

    init(_ manager: Settings.ServiceManager, _ logger: Logger) {
        watchdog = manager.watchdogMilliseconds
        self.logger = logger
        do {
            self.manager = try manager.notifySocket.map {
                (try DatagramSocket(), try Sockets.UnixAddress(path: $0))
            }
        } catch {
            self.manager = nil
            logger.warning("service manager not notified", metadata: ["error": "\(error)"])
        }
    }

    /// Reports that the process is ready and goes on to report its status.
    func start(_ probe: @escaping ServiceProcess.HealthProbe) {
        guard manager != nil else { return }
        send("READY=1")
        notify(probe)
        // Three reports may be late before the manager takes the process for hung.
        let pause = min(Self.interval, max(1, (watchdog ?? Int64.max) / 4))
        reports = ServiceProcess.tick(every: pause) { [weak self] in self?.notify(probe) }
    }

    /// Reports that the process stops.
    /// - Parameter goesOn: whether reports continue while the process drains.
    func stop(goesOn: Bool) {
        isStopping = true
        send("STOPPING=1\n" + statusLine)
        if !goesOn { reports?.cancel() }
    }

    /// Sends the last status and probes for the next. Without an answer there is no report: the
    /// probed part hangs.
    private func notify(_ probe: @escaping ServiceProcess.HealthProbe) {
        guard hasAnswered else { return }
        hasAnswered = false
        probe { [weak self] text in
            EventLoop.spawn { self?.answered(text) }
        }
    }

    private func answered(_ text: String) {
        hasAnswered = true
        var message = watchdog == nil ? [] : ["WATCHDOG=1"]
        if text != status {
            status = text
            message.append(statusLine)
        }
        if !message.isEmpty { send(message.joined(separator: "\n")) }
    }

    private var statusLine: String {
        "STATUS=" + (isStopping ? "Draining: " : "") + status
    }

    private func send(_ state: String) {
        guard let (socket, address) = manager else { return }
        if socket.send(Array(state.utf8), to: address, mayWait: true) {
            wasHeard = true
            return
        }
        // A manager that only waited for the process to be ready has gone, which is no fault.
        let isGone = wasHeard && errno == ENOENT
        logger.log(
            level: isGone ? .debug : .warning, "service manager not notified",
            metadata: ["error": "\(SystemError("sendto"))"])
    }
}
