internal import EventLoop
internal import Glibc
internal import Logging
internal import ProxyGPT

/// Tells the service manager, where there is one, how the process is (sd_notify(3)): that it is ready,
/// that it stops, what it is doing, and that it has not hung.
@EventLoop final class Heart {
    /// How often the state is told where no watchdog wants to hear sooner, in milliseconds.
    private static let interval: Int64 = 2000

    /// Open from the start: a process that is out of descriptors lives, and must be able to say so.
    private let manager: (socket: DatagramSocket, address: Sockets.UnixAddress)?
    private let watchdog: Int64?
    private let logger: Logger
    private var beats: Task<Void, Never>?
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

    /// Says that the process is ready and goes on to say how it is.
    func start(_ pulse: @escaping ServiceProcess.Pulse) {
        guard manager != nil else { return }
        send("READY=1")
        beat(pulse)
        // Three beats may be late before the manager takes it for hung.
        let pause = min(Self.interval, max(1, (watchdog ?? Int64.max) / 4))
        beats = ServiceProcess.tick(every: pause) { [weak self] in self?.beat(pulse) }
    }

    /// Says that the process stops.
    /// - Parameter goesOn: whether it beats while it drains.
    func stop(goesOn: Bool) {
        isStopping = true
        send("STOPPING=1\n" + statusLine)
        if !goesOn { beats?.cancel() }
    }

    /// Tells of the last answer and asks for the next. Without an answer there is no beat: whoever is
    /// asked hangs.
    private func beat(_ pulse: @escaping ServiceProcess.Pulse) {
        guard hasAnswered else { return }
        hasAnswered = false
        pulse { [weak self] text in
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
        // One that only waited for the process to be ready has gone, and is no fault.
        let isGone = wasHeard && errno == ENOENT
        logger.log(
            level: isGone ? .debug : .warning, "service manager not notified",
            metadata: ["error": "\(SystemError("sendto"))"])
    }
}
