// WebSockets below /v1/: decides whether a caller may open one to the upstream, what of the request leaves and what
// of the upstream's answer comes back, and records the call. How frames travel is the streamer's.

internal import Credentials
internal import Formats
package import Gateway
package import Logging
package import ProxyGPT

/// Decides about WebSocket calls of the upstream and records them.
package struct RealtimeEndpoint: Sendable {
    /// The outcome of a request.
    package enum Answer: Sendable {
        /// A whole answer; the request is recorded.
        case response(Response)
        /// Its opening row is committed.
        case call(RealtimeCall)
    }

    package let keyMask: KeyMask
    package let settings: Settings
    private let clock: any Clock
    private let logger: Logger
    private let admission: Admission
    private let recorder: StreamRecorder

    package init(
        settings: Settings, clock: any Clock, recorder: StreamRecorder, logger: Logger
    ) {
        self.settings = settings
        self.clock = clock
        self.recorder = recorder
        self.logger = logger
        keyMask = KeyMask(key: settings.apiKey)
        admission = recorder.admission
    }

    /// Whether a request is this endpoint's.
    package static func serves(_ request: Request) -> Bool {
        request.target.utf8.starts(with: Endpoints.forwarded.utf8)
    }

    // MARK: - Beginning

    /// Decides about one request.
    package func answer(_ request: Request) async -> Answer {
        let startedAt = clock.monotonicMicroseconds()
        var event = recorder.began(request, .forward)
        do {
            switch try admission.enter(request) {
            case .preflight(let response):
                return .response(recorder.preflight(event, since: startedAt, request, response))
            case .target(let target):
                let call = try await call(request, target, &event, startedAt)
                recorder.open(event)
                try await recorder.opened(event)
                return .call(call)
            }
        } catch {
            var response = Response(recorder.failure(for: error, request))
            response.nameWebSocketVersion()
            return .response(
                await recorder.finish(
                    event, since: startedAt, response, admission.commonHeaders(request)))
        }
    }

    private func call(
        _ request: Request, _ target: RequestTarget, _ event: inout Event, _ startedAt: Int64
    ) async throws -> RealtimeCall {
        let offered = Result { () throws(Failure) in
            try Subprotocols(request.values(of: "Sec-WebSocket-Protocol"))
        }
        // Errors in the list are reported only after authentication succeeds.
        let (caller, credential) = try await admission.admit(
            request, token: (try? offered.get())?.token, opensWebSocket: true)
        event.userID = caller.user.id
        try admission.checkPath(of: target)
        guard case .webSocket(let accept) = try request.transport() else {
            throw Failure(.invalidRequest, "This request is no WebSocket's handshake.")
        }
        let subprotocols = try offered.get().passed
        event.model = target.queryText("model", limit: Event.Limit.model)
        return RealtimeCall(
            userID: caller.user.id, sessionID: caller.session.id,
            tokenDigest: Token.digest(of: credential.token ?? ""),
            url: try address(of: target),
            headers: ForwardedHeaders.request(request.headers, settings.forwardHeaders),
            subprotocols: subprotocols,
            accept: accept, commonHeaders: admission.commonHeaders(request), event: event,
            startedAt: startedAt)
    }

    /// Where the WebSocket is at the upstream.
    private func address(of target: RequestTarget) throws(Failure) -> [UInt8] {
        do throws(Failure) {
            return try settings.upstream.url(path: target.path, query: target.query)
        } catch {
            // A deployment that has nothing like the path has no WebSocket there either.
            throw error.code == .notFound ? .noWebSocket : error
        }
    }

    // MARK: - The upstream's answer

    /// The headers of the client's 101, beside the handshake's own.
    package func openingHeaders(_ call: RealtimeCall, _ head: UpstreamHead) -> [Header] {
        let dropped = [
            "sec-websocket-accept", "sec-websocket-extensions", "sec-websocket-protocol",
            "content-length", "content-type", "content-security-policy",
            "cross-origin-resource-policy",
        ]
        let passed = ForwardedHeaders.response(head, mask: keyMask).filter { header in
            !dropped.contains { equalIgnoringCase($0, header.name) }
        }
        return passed + call.commonHeaders
    }

    /// Records that the upstream answered with something else than a WebSocket, and returns what
    /// the client gets to see of it.
    package func refused(
        _ call: RealtimeCall, _ head: UpstreamHead, _ body: [UInt8], after microseconds: Int64
    ) async -> Response {
        var event = call.event
        event.upstreamStatus = head.status
        event.upstreamRequestID = upstreamRequestID(head)
        event.upstreamMicroseconds = microseconds
        if head.refusesKey {
            logger.error(
                "upstream refused the key", metadata: ["request.id": "\(call.requestID)"])
            return await finish(call, event, Response(Failure.keyRefused))
        }
        let headers = ForwardedHeaders.response(head, mask: keyMask).filter { header in
            !["content-length", "sec-websocket-accept"].contains {
                equalIgnoringCase($0, header.name)
            }
        }
        let response = Response(status: head.status, headers: headers, body: keyMask.masked(body))
        if settings.recordsBodies {
            event.responseBody =
                isPacked(head.value(of: "Content-Encoding"))
                ? [] : keyMask.stored(Array(body.prefix(Event.bodyLimit)), path: event.path)
        }
        event.end = .done
        return await finish(call, event, response)
    }

    /// Records that there was no answer of the upstream, and returns what the client is told; nil
    /// when it has left.
    package func failed(
        _ call: RealtimeCall, _ failure: UpstreamFailure, after microseconds: Int64
    ) async -> Response? {
        var event = call.event
        event.upstreamMicroseconds = microseconds
        guard let told = failure.clientFailure else {
            event.end = .clientGone
            await recorder.ended(event, since: call.startedAt)
            return nil
        }
        event.end = failure.eventEnd
        logger.warning(
            "upstream failed",
            metadata: ["request.id": "\(call.requestID)", "upstream.failure": "\(failure)"])
        return await finish(call, event, Response(told))
    }

    /// Records that the upstream was not asked, and returns the client's answer.
    package func turnedAway(_ call: RealtimeCall, _ failure: Failure) async -> Response {
        await finish(call, call.event, Response(failure))
    }

    private func finish(_ call: RealtimeCall, _ event: Event, _ answer: Response) async -> Response
    {
        await recorder.finish(event, since: call.startedAt, answer, call.commonHeaders)
    }

    package func upstreamRequestID(_ head: UpstreamHead) -> String? {
        head.value(of: "X-Request-Id").map { keyMask.masked($0.beginning(bytes: 200)) }
    }

    // MARK: - While it lasts, and the end

    /// Whether the session still is one.
    package func isStillAllowed(_ call: RealtimeCall) async throws -> Bool {
        try await admission.authenticator.isStillValid(tokenDigest: call.tokenDigest)
    }

    /// Records how a WebSocket ended.
    package func ended(_ call: RealtimeCall, _ end: RealtimeEnd) async {
        var event = call.event
        event.status = Transport.webSocket(accept: call.accept).status
        event.upstreamStatus = event.status
        event.upstreamRequestID = end.upstreamRequestID
        event.upstreamMicroseconds = end.upstreamMicroseconds
        event.end = end.end
        event.detail = end.detail.map { keyMask.masked($0) }
        event.bytesIn = end.bytesIn
        event.bytesOut = end.bytesOut
        if settings.recordsBodies {
            event.requestBody = keyMask.stored(end.clientTranscript, path: event.path)
            event.responseBody = keyMask.stored(end.upstreamTranscript, path: event.path)
        }
        event.model = end.model ?? event.model
        event.promptTokens = end.usage?.promptTokens
        event.completionTokens = end.usage?.completionTokens
        await recorder.ended(event, since: call.startedAt)
    }
}
