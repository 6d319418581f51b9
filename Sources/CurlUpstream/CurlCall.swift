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

        /// Whether it was this side that gave the call up.
        var isOurs: Bool {
            switch self {
            case .whole, .failed(.cut), .failed(.unreachable): false
            case .failed: true
            }
        }
    }

    /// The most that waits unread before reading from the upstream stops.
    static let unreadLimit = 256 * 1024
    /// The same for a shared connection, where libcurl 7.88 cannot stop one stream alone: a stream
    /// that nobody reads would stall all others (http2.c, pause_stream_id). Such a call is given up
    /// instead. Large downloads are GETs, and those do not share.
    static let unreadLimitOfStream = 32 * 1024 * 1024

    private(set) var request: OutgoingRequest
    private(set) var body: Body
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
    /// The call's place in the table of active calls.
    var index = 0

    private var bytes: [UInt8] = []
    private var received: Int64 = 0
    private var isSendingPaused = false
    private var waiter: UnsafeContinuation<Void, Never>?
    /// Why a callback refused to go on.
    private var verdict: UpstreamFailure?
    private let upstream: CurlUpstream

    init(_ request: OutgoingRequest, body: Body, upstream: CurlUpstream) {
        self.request = request
        self.body = body
        self.upstream = upstream
        startedAt = monotonicMilliseconds()
        lastActivity = startedAt
        if case .pulled(let upload) = body {
            upload.onChange = { [weak self] in self?.resumeSending() }
        }
    }

    // MARK: - What the tasks call

    /// Suspends until the head is whole or the call has ended.
    func awaitHead() async throws(UpstreamFailure) -> UpstreamHead {
        while !head.isWhole && end == nil { await awaitNews { head.isWhole } }
        if case .failed(let failure)? = end, !head.isWhole || failure == .cancelled {
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

    /// Lets go of what libcurl has a copy of. A model call lasts long, and there are many.
    func forgetRequest() {
        request.lines = []
        if case .whole = body { body = .none }
    }

    /// Whether the upstream still waits for something that will not come any more.
    var leavesStreamOpen: Bool {
        if case .pulled(let upload) = body, !upload.isSent { return true }
        return verdict != nil
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
    /// on it: a model call would run, and cost, twice, and nobody would know. So a second sending is
    /// allowed only for methods that change nothing, or if not one byte has left so far. An
    /// `Idempotency-Key` is no reason to send again: whether the upstream honours it is unknown
    /// here, and the client that set it repeats the call itself. The race is rare: libcurl looks at
    /// a connection before it takes it, so the close must happen while the request is under way.
    func mayBeSent() -> Bool {
        let isSecond = isConnected
        if !isSecond { transfer?.multi.connectingEnded() }
        isConnected = true
        guard isSecond, !OutgoingRequest.isSafe(request.method) else { return true }
        var bodyIsBegun = false
        if case .pulled(let upload) = body { bodyIsBegun = upload.isBegun }
        if !bodyIsBegun, transfer?.handle.hasSentAnything == false { return true }
        verdict = .cut("the connection ended before an answer; the upstream may have run the call")
        return false
    }

    func takeHeaderLine(_ line: UnsafeRawBufferPointer) -> Bool {
        switch head.take(line) {
        case .more, .trailer:
            break
        case .whole:
            lastActivity = monotonicMilliseconds()
            transfer?.multi.isShared = head.isMultiplexed
            wake()
            endIfAnsweredEarly()
        case .broken(let text):
            verdict = .cut(text)
            return false
        }
        return true
    }

    func takeBody(_ piece: UnsafeRawBufferPointer) -> Int {
        if head.isMultiplexed {
            guard bytes.count < Self.unreadLimitOfStream else {
                verdict = .cut("more than 32 MiB of the answer were not read")
                return 0
            }
        } else if bytes.count >= Self.unreadLimit {
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
        upstream.end(self, outcome(of: result, text))
    }

    private func outcome(of result: CURLcode, _ text: String) -> End {
        if let verdict { return .failed(verdict) }
        if result == CURLE_OK {
            return head.isWhole ? .whole : .failed(.cut("the connection ended without an answer"))
        }
        // An answer may be whole before its request is: the failure is then one to send the rest. Of a
        // shared connection libcurl says so by this code without a text (http2.c, close_handled).
        let isWholeStream = result == CURLE_HTTP2_STREAM && text.isEmpty
        if head.isWhole && (received == head.bodyLength || isWholeStream) { return .whole }
        let text = text.isEmpty ? String(cString: curl_easy_strerror(result)) : text
        if isConnected { return .failed(.cut(text)) }
        return .failed(result == CURLE_OPERATION_TIMEDOUT ? .connectTimeout : .unreachable(text))
    }
}
