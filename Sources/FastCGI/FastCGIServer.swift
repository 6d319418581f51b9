// Accepts the web server's connections and turns the bytes on them into requests.
//
// Owns the connections; the listening and handover sockets are shared with the sibling workers and
// never shut down, only no longer polled. A full worker leaves new connections to its siblings and
// passes on kept ones; a connection that is still there 20 to 40 ms later found no room anywhere,
// and is refused.

internal import CFastCGI
package import EventLoop
internal import Glibc

/// Serves FastCGI on a socket that the processes of a pool share.
@EventLoop package final class FastCGIServer {
    package struct Configuration: Sendable {
        /// The listening socket, open and shared.
        package let listener: Int32
        /// The pool's bound datagram socket, where there is a pool.
        package let handover: Int32?
        /// Requests at once; more are refused.
        package let maxInFlight: Int

        package init(listener: Int32, handover: Int32?, maxInFlight: Int) {
            self.listener = listener
            self.handover = handover
            self.maxInFlight = maxInFlight
        }
    }

    private static let refusalDelay: Int64 = 20
    private static let retryDelay: Int64 = 5

    private let configuration: Configuration
    private let serve: @EventLoop (FastCGIRequest) async -> Void
    private let handover: Handover?
    private var listenerWatch: Watch?
    private var handoverWatch: Watch?
    private var connections: [ObjectIdentifier: FastCGIConnection] = [:]
    /// Tasks that outlive their request, by number.
    private var background: [Int: Task<Void, Never>] = [:]
    private var backgroundCount = 0
    private var fullTimer: Timer?
    /// Whether a connection, new or kept, waited for room when this full worker checked last.
    private var waited = (new: false, kept: false)
    private var isDraining = false
    private var drained: UnsafeContinuation<Void, Never>?

    /// Requests that are being served, refused ones included, and tasks of them that go on behind.
    package private(set) var inFlight = 0

    /// - Parameter serve: called as a task for every request; must end it by `finish` or `abort`.
    ///   The task is cancelled when the client goes away.
    package init(
        _ configuration: Configuration, serve: @escaping @EventLoop (FastCGIRequest) async -> Void
    ) throws(SystemError) {
        // Read when libfcgi starts: it must never wait for a peer to close.
        setenv("LIBFCGI_OS_CLOSE_POLL_TIMEOUT", "0", 1)
        FCGX_Init()
        self.configuration = configuration
        self.serve = serve
        handover = try configuration.handover.map { socket throws(SystemError) in
            try Handover(socket: socket)
        }
        for socket in [configuration.listener, configuration.handover].compactMap({ $0 }) {
            try Sockets.stopBlocking(socket)
        }
    }

    /// Begins to accept.
    package func start() throws(SystemError) {
        listenerWatch = try EventLoop.watch(configuration.listener, for: .readable) {
            [weak self] _ in
            self?.accept()
        }
        if let handover {
            handoverWatch = try EventLoop.watch(handover.socket, for: .readable) { [weak self] _ in
                self?.receive(refusing: false)
            }
        }
    }

    /// Stops accepting, gives idle connections to the siblings, and returns when all requests have
    /// ended, or when `milliseconds` have passed: requests that still run are aborted.
    package func drain(milliseconds: Int64) async {
        isDraining = true
        fullTimer?.cancel()
        listenerWatch?.cancel()
        handoverWatch?.cancel()
        releaseIdle()
        if !isDrained {
            let limit = EventLoop.schedule(afterMilliseconds: milliseconds) { [weak self] in
                self?.stopAll()
            }
            // A task that does not even end when it is cancelled must not hold the process.
            let end = EventLoop.schedule(afterMilliseconds: milliseconds &+ 5000) { [weak self] in
                self?.endDrain()
            }
            await withUnsafeContinuation { continuation in
                if isDrained { continuation.resume() } else { drained = continuation }
            }
            limit.cancel()
            end.cancel()
        }
    }

    private func stopAll() {
        for connection in connections.values { connection.stop() }
        for task in background.values { task.cancel() }
    }

    /// Runs `body` as a task that the drain waits for and cancels at its time limit.
    /// - Parameter counts: whether it counts as one of the requests in flight.
    package func startBackground(
        counts: Bool, _ body: @escaping @Sendable () async -> Void
    ) -> Task<Void, Never> {
        backgroundCount += 1
        let number = backgroundCount
        if counts { inFlight += 1 }
        let task = EventLoop.spawn {
            await body()
            self.background[number] = nil
            if counts { self.requestEnded() } else { self.endDrainIfDone() }
        }
        background[number] = task
        if isFull { becomeFull() }
        return task
    }

    // MARK: - New connections

    private func accept() {
        // Not all that wait: the siblings want their share.
        for _ in 0..<16 where !isFull {
            guard acceptOne(refusing: false) else { break }
        }
        if isFull { becomeFull() }
    }

    private func acceptOne(refusing: Bool) -> Bool {
        let descriptor = Sockets.accept(from: configuration.listener)
        if descriptor >= 0 {
            adopt(descriptor, refusing: refusing)
            return true
        }
        if errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM {
            // No descriptor is free: try again when some request has ended.
            becomeFull()
        }
        return errno == EINTR || errno == ECONNABORTED
    }

    private func receive(refusing: Bool) {
        while let descriptor = handover?.receive() {
            adopt(descriptor, refusing: refusing)
            if isFull && !refusing {
                becomeFull()
                return
            }
        }
    }

    private func adopt(_ descriptor: Int32, refusing: Bool) {
        do {
            let connection = try FastCGIConnection(descriptor, server: self, refusesNext: refusing)
            connections[ObjectIdentifier(connection)] = connection
        } catch {
            close(descriptor)
        }
    }

    // MARK: - Requests

    func readable(_ connection: FastCGIConnection) {
        switch connection.peekHead() {
        case .incomplete: return
        case .malformed:
            connection.close()
            return
        case .complete: break
        }
        var isRefused = false
        if isFull {
            // A sibling may have room. Without one, or when it was full as well, the answer is no.
            if !connection.refusesNext, let handover, connection.handOver(by: handover) { return }
            isRefused = true
        }
        connection.refusesNext = false
        let began = connection.begin(isRefused: isRefused, serve: serve) { [weak self] in
            self?.requestEnded()
        }
        if began { inFlight += 1 }
        if isFull { becomeFull() }
    }

    func becameIdle(_ connection: FastCGIConnection) {
        if isDraining { releaseIdle() }
    }

    func closed(_ connection: FastCGIConnection) {
        connections[ObjectIdentifier(connection)] = nil
        endDrainIfDone()
    }

    private func requestEnded() {
        inFlight -= 1
        if !isFull { becomeFree() }
        endDrainIfDone()
    }

    private func endDrainIfDone() {
        if isDrained { endDrain() }
    }

    private func endDrain() {
        drained?.resume()
        drained = nil
    }

    private var isDrained: Bool {
        isDraining && connections.isEmpty && inFlight == 0 && background.isEmpty
    }

    /// Gives away the connections without a request. Where the socket takes no more, the connection
    /// goes on being served, and another try follows.
    private func releaseIdle() {
        for connection in connections.values where !connection.isBusy {
            guard let handover else {
                connection.close()
                continue
            }
            if !connection.handOver(by: handover) {
                EventLoop.schedule(afterMilliseconds: Self.retryDelay) { [weak self] in
                    self?.releaseIdle()
                }
                return
            }
        }
    }

    // MARK: - Admission

    private var isFull: Bool { inFlight >= configuration.maxInFlight }

    private func becomeFull() {
        guard fullTimer == nil, !isDraining else { return }
        try? listenerWatch?.change(to: [])
        try? handoverWatch?.change(to: [])
        fullTimer = EventLoop.schedule(afterMilliseconds: Self.refusalDelay) { [weak self] in
            self?.refuseWaiting()
        }
    }

    /// Accepts the connections that no sibling took in the meantime, to refuse them. A connection
    /// that waits for the first time may have come this very moment: a sibling gets until the next
    /// check to take it.
    private func refuseWaiting() {
        fullTimer = nil
        guard !isDraining else { return }
        guard isFull else {
            becomeFree(force: true)
            return
        }
        func isWaiting(at socket: Int32?) -> Bool {
            socket.map { Sockets.isReady($0, for: .readable) } ?? false
        }
        // Each socket by itself: a connection that waits at one now is not the one that waited at
        // the other.
        let waiting = (
            new: isWaiting(at: configuration.listener), kept: isWaiting(at: configuration.handover)
        )
        if waiting.kept && waited.kept { receive(refusing: true) }
        if waiting.new && waited.new {
            for _ in 0..<256 {
                guard acceptOne(refusing: true) else { break }
            }
        }
        waited = waiting
        becomeFull()
    }

    private func becomeFree(force: Bool = false) {
        guard force || fullTimer != nil, !isDraining else { return }
        fullTimer?.cancel()
        fullTimer = nil
        waited = (false, false)
        try? listenerWatch?.change(to: .readable)
        try? handoverWatch?.change(to: .readable)
    }
}
