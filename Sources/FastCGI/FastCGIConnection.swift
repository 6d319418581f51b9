// One connection of the web server, kept from request to request.
//
// Owns the descriptor and its watch. The watch is edge-triggered: a state that the kernel reports
// once is checked again with poll(2) where it matters. Confined to the loop.

internal import EventLoop
internal import Glibc

@EventLoop final class FastCGIConnection {
    nonisolated let descriptor: Int32
    /// The web server closed its side.
    private(set) var isPeerGone = false
    /// We ended it, with a request on it.
    private(set) var isStopped = false
    /// Came from a sibling that was full while this worker was full as well.
    var refusesNext: Bool

    private weak var server: FastCGIServer?
    private var watch: Watch?
    private var isClosed = false
    /// The task that waits for the body: its reader, and at the end the task that discards the
    /// rest.
    private var readers: [UnsafeContinuation<Void, Never>] = []
    private var writer: UnsafeContinuation<Void, Never>?
    private var request: FastCGIRequest?
    private var task: Task<Void, Never>?

    private static let interest: Readiness = [.readable, .peerClosed, .edgeTriggered]

    init(_ descriptor: Int32, server: FastCGIServer, refusesNext: Bool) throws(SystemError) {
        self.descriptor = descriptor
        self.server = server
        self.refusesNext = refusesNext
        // libfcgi's calls are made when they do not block. Should a peer stop in the middle of a
        // record, this bounds the harm.
        Sockets.limitBlocking(descriptor, seconds: 2)
        watch = try EventLoop.watch(descriptor, for: Self.interest) { [weak self] readiness in
            self?.becameReady(readiness)
        }
    }

    var isBusy: Bool { request != nil }

    var isReadable: Bool { Sockets.isReady(descriptor, for: .readable) }

    var isWritable: Bool { Sockets.isReady(descriptor, for: .writable) }

    private func becameReady(_ readiness: Readiness) {
        if !readiness.isDisjoint(with: [.peerClosed, .hungUp]) {
            isPeerGone = true
            resumeReaders()
            resumeWriter()
            if isBusy { task?.cancel() } else { close() }
            return
        }
        if readiness.contains(.writable) { resumeWriter() }
        if readiness.contains(.readable) {
            if isBusy { resumeReaders() } else { server?.readable(self) }
        }
    }

    // MARK: - Requests

    /// The available bytes of the next request, without taking them off the connection.
    func peekHead() -> RequestHead {
        var length = 16 * 1024
        while true {
            let head = withUnsafeTemporaryAllocation(byteCount: length, alignment: 1) { buffer in
                let count = Sockets.peek(descriptor, into: buffer)
                guard count > 0 else {
                    return (head: count == 0 ? RequestHead.malformed : .incomplete, isCut: false)
                }
                return (head: RequestHead(scanning: buffer.prefix(count)), isCut: count == length)
            }
            guard head.head == .incomplete, head.isCut else { return head.head }
            if length == RequestHead.limit { return .malformed }
            length = RequestHead.limit
        }
    }

    /// Parses the request that lies ready and runs `serve` on it as a task of its own, then `ended`.
    func begin(
        isRefused: Bool, serve: @escaping @EventLoop (FastCGIRequest) async -> Void,
        ended: @escaping @EventLoop () -> Void
    ) -> Bool {
        guard let request = FastCGIRequest(connection: self, isRefused: isRefused) else {
            forget()
            return false
        }
        self.request = request
        task = EventLoop.spawn {
            await serve(request)
            // Whatever happened, the connection is not left hanging.
            request.abort()
            ended()
        }
        return true
    }

    /// Called by the request when it has let go of the descriptor.
    func requestEnded(keep: Bool) {
        request = nil
        task = nil
        // A reader that was given up must not wait into the next request.
        resumeReaders()
        if keep && !isPeerGone {
            server?.becameIdle(self)
        } else {
            close()
        }
    }

    /// Suspends until more bytes come than are there now, or the peer closes.
    func waitForMore() async {
        await withUnsafeContinuation { continuation in
            if isPeerGone { continuation.resume() } else { readers.append(continuation) }
        }
    }

    // The loop may have turned since the caller looked, and an edge is reported once: so it is looked
    // at again before the wait.

    func waitUntilWritable() async {
        try? watch?.change(to: Self.interest.union(.writable))
        await withUnsafeContinuation { continuation in
            if isPeerGone || isWritable { continuation.resume() } else { writer = continuation }
        }
    }

    private func resumeReaders() {
        let waiting = readers
        readers = []
        for reader in waiting { reader.resume() }
    }

    private func resumeWriter() {
        guard let writer else { return }
        self.writer = nil
        try? watch?.change(to: Self.interest)
        writer.resume()
    }

    // MARK: - End

    /// Gives the descriptor to a sibling. False when the handover socket takes no more; the
    /// connection then goes on here.
    func handOver(by handover: Handover) -> Bool {
        guard handover.send(descriptor) else { return false }
        close()
        return true
    }

    /// Ends the connection, and the request on it so that its client sees it.
    func stop() {
        isStopped = isBusy
        task?.cancel()
        if let request { request.abort() } else { close() }
    }

    func close() {
        guard !isClosed else { return }
        let descriptor = descriptor
        forget()
        Glibc.close(descriptor)
    }

    /// As `close`, where libfcgi has closed the descriptor already.
    func forget() {
        guard !isClosed else { return }
        isClosed = true
        isPeerGone = true
        request = nil
        watch?.cancel()
        watch = nil
        resumeReaders()
        resumeWriter()
        server?.closed(self)
    }
}
