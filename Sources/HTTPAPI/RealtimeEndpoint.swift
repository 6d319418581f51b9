// `/v1/realtime`: decides who may have a WebSocket to the upstream, what of the request leaves and
// what of the upstream's answer comes back, and records the call. How frames travel is the
// streamer's.

internal import Credentials
package import Logging
package import Metrics
package import ProxyGPT

/// Decides about WebSocket calls of the upstream and records them.
package struct RealtimeEndpoint: Sendable {
    /// What becomes of a request.
    package enum Answer: Sendable {
        /// A whole answer; the request is recorded.
        case response(Response)
        /// Its opening row is committed.
        case call(RealtimeCall)
    }

    package let keyMasks: KeyMasks
    package let settings: Settings
    private let events: any EventLog
    private let clock: any Clock
    private let identifiers: any IdentifierSource
    private let logger: Logger
    private let authenticator: Authenticator
    private let crossSite: CrossSite
    private let refusals: RefusalRecorder
    private let meter: StreamMeter

    package init(
        settings: Settings, store: any Store, events: any EventLog, clock: any Clock,
        identifiers: any IdentifierSource, scoreboard: Scoreboard? = nil, logger: Logger
    ) {
        meter = StreamMeter(scoreboard)
        self.settings = settings
        self.events = events
        self.clock = clock
        self.identifiers = identifiers
        self.logger = logger
        keyMasks = KeyMasks(key: settings.apiKey)
        authenticator = Authenticator(store: store, clock: clock, sessionDays: settings.sessionDays)
        crossSite = CrossSite(settings)
        refusals = RefusalRecorder(events: events, clock: clock, identifiers: identifiers)
    }

    /// Whether a request is this endpoint's.
    package static func serves(_ request: Request) -> Bool {
        request.target.prefix { $0 != "?" } == Router.realtime
    }

    /// Does what falls due with time. Called once a second.
    package func tick() {
        refusals.writeCount()
    }

    // MARK: - Beginning

    /// Decides about one request.
    package func answer(_ request: Request) async -> Answer {
        let startedAt = clock.monotonicMicroseconds()
        var event = Event(
            id: Event.ID(identifiers.next()), timestamp: clock.now(), kind: .forward,
            requestID: request.id, clientAddress: request.clientAddress, method: request.method,
            path: String(request.target.prefix { $0 != "?" }.prefix(1024)))
        meter.began(event)
        do {
            let call = try await call(request, &event, startedAt)
            events.open(event)
            try await opened(event)
            return .call(call)
        } catch {
            var response = Response(failure(for: error, request.id))
            if response.status == Failure.Code.invalidRequest.status {
                response.headers.append(Header("Sec-WebSocket-Version", "13"))
            }
            return .response(
                await finish(event, startedAt, response, commonHeaders(request)))
        }
    }

    private func call(
        _ request: Request, _ event: inout Event, _ startedAt: Int64
    ) async throws -> RealtimeCall {
        let target = try RequestTarget(request.target)
        let offered = Result { () throws(Failure) in
            try Subprotocols(request.values(of: "Sec-WebSocket-Protocol"))
        }
        // What is wrong with them matters only to a caller.
        let token = (try? offered.get())?.token
        let credential = PresentedCredential.find(
            authorization: request.values(of: "Authorization"),
            cookies: request.values(of: "Cookie"), parameter: token)
        guard let credential else { throw Failure.missingCredential }
        try crossSite.checkUpgrade(of: request, with: credential)
        let caller = try await authenticator.caller(credential)
        event.userID = caller.user.id
        guard case .webSocket(let accept) = try request.transport() else {
            throw Failure(.invalidRequest, "\(target.path) is for WebSockets.")
        }
        let subprotocols = try offered.get().passed
        event.model = try? Parameters(query: target.query).text("model")
        return RealtimeCall(
            userID: caller.user.id, sessionID: caller.session.id,
            tokenDigest: Token.digest(of: credential.token ?? ""),
            url: try settings.upstream.url(path: target.path, query: target.query),
            headers: ForwardedHeaders.request(request.headers), subprotocols: subprotocols,
            accept: accept, commonHeaders: commonHeaders(request), event: event,
            startedAt: startedAt)
    }

    private func opened(_ event: Event) async throws(Failure) {
        do {
            try await events.opened(event.id)
        } catch {
            log("event not recorded", error, event.requestID)
            throw Failure(.unavailable, "Nothing can be recorded just now.", retryAfter: 5)
        }
    }

    // MARK: - The upstream's answer

    /// The headers of the client's 101, beside the handshake's own.
    package func openingHeaders(_ call: RealtimeCall, _ head: UpstreamHead) -> [Header] {
        let dropped = [
            "sec-websocket-accept", "sec-websocket-extensions", "sec-websocket-protocol",
            "content-length", "content-type", "content-security-policy",
        ]
        let passed = ForwardedHeaders.response(head, mask: keyMasks.whole).filter { header in
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
        // The shared key is the operator's to mend: a client that saw 401 would doubt its own token.
        if head.status == 401 {
            logger.error(
                "upstream refused the key", metadata: ["request.id": "\(call.requestID)"])
            let failure = Failure(
                .upstreamAuthentication, "The upstream did not accept this server's key.")
            return await finish(event, call.startedAt, Response(failure), call.commonHeaders)
        }
        let mask = keyMasks.mask(forStatus: head.status)
        let headers = ForwardedHeaders.response(head, mask: mask).filter { header in
            !["content-length", "sec-websocket-accept"].contains {
                equalIgnoringCase($0, header.name)
            }
        }
        let response = Response(status: head.status, headers: headers, body: mask.masked(body))
        if settings.recordsBodies {
            event.responseBody = Array(response.body.prefix(Event.bodyLimit))
        }
        event.end = .done
        return await finish(event, call.startedAt, response, call.commonHeaders)
    }

    /// Records that there was no answer of the upstream, and returns what the client is told; nil
    /// when it has left.
    package func failed(
        _ call: RealtimeCall, _ failure: UpstreamFailure, after microseconds: Int64
    ) async -> Response? {
        var event = call.event
        event.upstreamMicroseconds = microseconds
        guard let told = failure.told else {
            event.end = .clientGone
            event.durationMicroseconds = clock.monotonicMicroseconds() - call.startedAt
            meter.ended(event)
            await close(event)
            return nil
        }
        event.end = failure.eventEnd
        logger.warning(
            "upstream failed",
            metadata: ["request.id": "\(call.requestID)", "upstream.failure": "\(failure)"])
        return await finish(event, call.startedAt, Response(told), call.commonHeaders)
    }

    /// Records that the upstream was not even asked, and returns what the client is told.
    package func turnedAway(_ call: RealtimeCall, _ failure: Failure) async -> Response {
        await finish(call.event, call.startedAt, Response(failure), call.commonHeaders)
    }

    package func upstreamRequestID(_ head: UpstreamHead) -> String? {
        head.value(of: "X-Request-Id").map { keyMasks.partial.masked(String($0.prefix(200))) }
    }

    // MARK: - While it lasts, and the end

    /// Whether the session still is one.
    package func isStillAllowed(_ call: RealtimeCall) async throws -> Bool {
        try await authenticator.isStillValid(tokenDigest: call.tokenDigest)
    }

    /// Records how a WebSocket ended.
    package func ended(_ call: RealtimeCall, _ end: RealtimeEnd) async {
        var event = call.event
        event.status = Transport.webSocket(accept: call.accept).status
        event.upstreamStatus = event.status
        event.upstreamRequestID = end.upstreamRequestID
        event.upstreamMicroseconds = end.upstreamMicroseconds
        event.end = end.end
        event.detail = end.detail.map { keyMasks.partial.masked($0) }
        event.bytesIn = end.bytesIn
        event.bytesOut = end.bytesOut
        if settings.recordsBodies {
            event.requestBody = keyMasks.whole.masked(end.clientWords)
            event.responseBody = keyMasks.whole.masked(end.upstreamWords)
        }
        event.durationMicroseconds = clock.monotonicMicroseconds() - call.startedAt
        event.promptTokens = end.usage?.promptTokens
        event.completionTokens = end.usage?.completionTokens
        meter.ended(event)
        await close(event)
    }

    private func finish(
        _ begun: Event, _ startedAt: Int64, _ answer: Response, _ commonHeaders: [Header]
    ) async -> Response {
        var (event, response) = (begun, answer)
        event.status = response.status
        event.bytesOut = Int64(response.body.count)
        event.end = event.end ?? (response.status < 500 ? .done : .error)
        event.durationMicroseconds = clock.monotonicMicroseconds() - startedAt
        meter.ended(event)
        if event.userID == nil {
            // Strangers must not be able to fill the disk, nor wait for it.
            refusals.record(event)
        } else if await !close(event) {
            response = Response(
                Failure(.unavailable, "Nothing can be recorded just now.", retryAfter: 5))
        }
        if response.status != 204 && response.status != 304 {
            response.headers.append(Header("Content-Length", String(response.body.count)))
        }
        response.headers += commonHeaders
        return response
    }

    @discardableResult
    private func close(_ event: Event) async -> Bool {
        do {
            try await events.close(event)
            return true
        } catch {
            log("event not recorded", error, event.requestID)
            return false
        }
    }

    private func commonHeaders(_ request: Request) -> [Header] {
        [Header("X-Request-Id", request.id)] + crossSite.headers(for: request)
    }

    private func failure(for error: any Error, _ id: String) -> Failure {
        if let failure = error as? Failure {
            meter.refused(failure)
            return failure
        }
        log("request failed", error, id)
        return .hidden
    }

    private func log(_ message: Logger.Message, _ error: any Error, _ id: String) {
        logger.error(
            message, metadata: ["request.id": "\(id)", "error": "\(String(describing: error))"])
    }
}
