internal import CCurl
internal import EventLoop
internal import ProxyGPT

/// One call on its way, seen from libcurl's callbacks on one side and from the tasks that wait for
/// it on the other.
@EventLoop final class CurlCall {
    /// The body of a request.
    enum Body {
        case none
        case whole([UInt8])
        case pulled(UploadBody)
    }

    /// How a call ended.
    enum End {
        case whole
        case failed(UpstreamFailure)
    }

    /// The most that waits unread before reading from the upstream stops.
    static let unreadLimit = 256 * 1024

    private(set) var request: OutgoingRequest
    private(set) var body: Body
    /// The proxy on the way.
    let proxy: UpstreamProxy?
    let startedAt: Int64
    private(set) var head = AnswerHead()
    private(set) var end: End?
    /// Whether there is a connection on which the request may be.
    private(set) var isConnected = false
    /// The last moment when the upstream sent something, or when we began to listen again.
    private(set) var lastActivity: Int64
    private(set) var isReceivingPaused = false

    /// Where the call runs, from the start of its transfer to its end.
    var transfer: (multi: CurlMulti, handle: EasyHandle)?
    /// The key of the call in the table of active calls.
    var index = 0

    private var bytes: [UInt8] = []
    private var received: Int64 = 0
    private var isSendingPaused = false
    private var waiter: UnsafeContinuation<Void, Never>?
    /// Why a callback refused to go on.
    private var verdict: UpstreamFailure?
    /// The connection that libcurl chose has ended meanwhile, before a byte of the request left.
    private var needsAnotherConnection = false
    private let upstream: CurlUpstream

    init(
        _ request: OutgoingRequest, body: Body, proxy: UpstreamProxy?, upstream: CurlUpstream
    ) {
        self.request = request
        self.body = body
        self.proxy = proxy
        self.upstream = upstream
        startedAt = monotonicMilliseconds()
        lastActivity = startedAt
        if case .pulled(let upload) = body {
            upload.onChange = { [weak self] in self?.resumeSending() }
        }
    }

    /// The destination of a connection.
    var nextHop: (host: String, port: Int) {
        proxy.map { ($0.host, $0.port) } ?? (request.target.host, request.target.port)
    }

    // MARK: - What the tasks call

    /// Suspends until the head is whole or the call has ended.
    func awaitHead() async throws(UpstreamFailure) -> UpstreamHead {
        while !head.isWhole && end == nil { await awaitNews { head.isWhole } }
        if case .failed(let failure)? = end, !head.isWhole || failure == .cancelled || isProxys {
            throw failure
        }
        return UpstreamHead(status: head.status, headers: head.headers)
    }

    /// Returns what has arrived, suspending until something has; nil at the clean end.
    func nextBytes() async throws(UpstreamFailure) -> [UInt8]? {
        while true {
            if !bytes.isEmpty {
                let taken = bytes
                bytes = []
                resumeReceiving()
                return taken
            }
            switch end {
            case .whole: return nil
            case .failed(let failure): throw failure
            case nil: await awaitNews { !bytes.isEmpty }
            }
        }
    }

    /// Frees the data that libcurl has copied. A model call lasts long, and there are many.
    func forgetRequest() {
        request.lines = []
        if case .whole = body { body = .none }
    }

    /// Gives the call up; no effect after its end.
    func cancel() {
        upstream.end(self, .failed(.cancelled))
    }

    /// Suspends until the next wake, unless there is news already: the loop may have turned since
    /// the caller looked.
    private func awaitNews(_ isThere: () -> Bool) async {
        await withTaskCancellationHandler {
            await withUnsafeContinuation { continuation in
                precondition(waiter == nil, "two tasks wait for one call")
                if end != nil || isThere() {
                    continuation.resume()
                } else {
                    waiter = continuation
                }
            }
        } onCancel: {
            // The canceller's thread may be any, and libcurl may be at work on the loop's.
            EventLoop.spawn { self.cancel() }
        }
    }

    private func wake() {
        waiter?.resume()
        waiter = nil
    }

    /// Notes the end. Called by the upstream, which has taken the call out of libcurl.
    func finish(_ end: End) {
        self.end = end
        if case .failed(.cancelled) = end { bytes = [] }
        if case .pulled(let upload) = body { upload.stop() }
        wake()
    }

    private func resumeReceiving() {
        guard isReceivingPaused, let transfer else { return }
        isReceivingPaused = false
        lastActivity = monotonicMilliseconds()
        transfer.multi.pause(transfer.handle, isSendingPaused ? CURLPAUSE_SEND : CURLPAUSE_CONT)
    }

    private func resumeSending() {
        guard isSendingPaused, let transfer else { return }
        isSendingPaused = false
        transfer.multi.pause(transfer.handle, isReceivingPaused ? CURLPAUSE_RECV : CURLPAUSE_CONT)
    }

    // MARK: - What libcurl's callbacks call

    /// Decides whether the request may be written to the connection that libcurl has just got.
    ///
    /// libcurl sends a request again, whatever its method, when a kept connection ends before a
    /// byte of the answer (transfer.c, Curl_retry_request). But the upstream may have begun to work
    /// on it: a model call would run, and cost, twice, without a trace. So a second sending is
    /// allowed only for methods that change nothing, or if not one byte has left so far. An
    /// `Idempotency-Key` is no reason to send again: whether the upstream honours it is unknown
    /// here, and the client that set it repeats the call itself. The race is rare: a kept
    /// connection is checked before it is used, so the close must happen while the request is under
    /// way.
    /// - Parameter port: the connection's port at this end.
    func mayBeSent(fromPort port: UInt16) -> Bool {
        guard !isConnected || mayBeSentAgain else {
            verdict = .cut(
                "the connection ended before an answer; the upstream may have run the call")
            return false
        }
        if transfer?.multi.hasEnded(connectionOn: port) == true {
            needsAnotherConnection = true
            return false
        }
        isConnected = true
        return true
    }

    private var mayBeSentAgain: Bool {
        if OutgoingRequest.isSafe(request.method) { return true }
        if case .pulled(let upload) = body, upload.isBegun { return false }
        return transfer?.handle.hasSentAnything == false
    }

    /// Whether the answer is that of a proxy which does not know us.
    private var isProxys: Bool {
        proxy != nil && !request.target.isSecure && head.status == 407
    }

    func takeHeaderLine(_ line: UnsafeRawBufferPointer) -> Bool {
        switch head.take(line) {
        case .more, .trailer:
            break
        case .whole:
            if isProxys {
                verdict = .unreachable("the proxy asks for another credential")
                return false
            }
            lastActivity = monotonicMilliseconds()
            wake()
            endIfAnsweredEarly()
        case .broken(let text):
            verdict = .cut(text)
            return false
        }
        return true
    }

    func takeBody(_ piece: UnsafeRawBufferPointer) -> Int {
        if bytes.count >= Self.unreadLimit {
            isReceivingPaused = true
            return Int(CURL_WRITEFUNC_PAUSE)
        }
        bytes.append(contentsOf: piece)
        received += Int64(piece.count)
        lastActivity = monotonicMilliseconds()
        wake()
        endIfAnsweredEarly()
        return piece.count
    }

    func giveBody(_ target: UnsafeMutableRawBufferPointer) -> Int {
        guard case .pulled(let upload) = body else { return 0 }
        switch upload.read(into: target) {
        case .bytes(let count):
            return count
        case .end:
            return 0
        case .wait:
            isSendingPaused = true
            return Int(CURL_READFUNC_PAUSE)
        case .broken:
            verdict = .cancelled
            return Int(CURL_READFUNC_ABORT)
        }
    }

    /// Ends a call whose answer is whole although the request is not: libcurl would go on sending
    /// until the upstream closes, and then report a failure.
    private func endIfAnsweredEarly() {
        guard case .pulled(let upload) = body, !upload.isSent, let transfer else { return }
        if received == head.bodyLength {
            transfer.multi.afterwards { self.upstream.end(self, .whole) }
        } else if head.status >= 300 && isSendingPaused {
            // libcurl stops sending by itself, but does not end while the sending is paused.
            transfer.multi.afterwards { self.resumeSending() }
        }
    }

    /// Ends the call when libcurl has finished its transfer.
    func transferEnded(_ result: CURLcode, _ text: String) {
        if needsAnotherConnection {
            needsAnotherConnection = false
            upstream.restart(self)
        } else {
            upstream.end(self, outcome(of: result, text))
        }
    }

    private func outcome(of result: CURLcode, _ text: String) -> End {
        if let verdict { return .failed(verdict) }
        if result == CURLE_OK {
            return head.isWhole ? .whole : .failed(.cut("the connection ended without an answer"))
        }
        // An answer may be whole before its request is: the failure is then one to send the rest.
        if head.isWhole && received == head.bodyLength { return .whole }
        let text = text.isEmpty ? String(cString: curl_easy_strerror(result)) : text
        if isConnected { return .failed(.cut(text)) }
        return .failed(result == CURLE_OPERATION_TIMEDOUT ? .connectTimeout : .unreachable(text))
    }
}
