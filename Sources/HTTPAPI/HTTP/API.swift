package import Credentials
package import Gateway
package import Logging
package import Metrics
package import ProxyGPT

/// The product's HTTP interface: takes a request, authenticates the caller, handles or forwards it, and
/// answers when what happened is recorded.
package struct API: Sendable {
    let settings: Settings
    let store: any Store
    let upstream: any Upstream
    let hasher: PasswordHasher
    let clock: any Clock
    let identifiers: any IdentifierSource
    let logger: Logger
    let admission: Admission
    let ledger: Ledger
    let keyMask: KeyMask
    let prompts: PromptRunner
    let background: any Background
    let operators: OperatorEndpoint?
    let meter: RequestMeter

    package init(
        settings: Settings, store: any Store, events: any EventLog, upstream: any Upstream,
        bus: any Bus, cache: any ContextCache, background: any Background,
        hasher: PasswordHasher, clock: any Clock, identifiers: any IdentifierSource,
        operators: OperatorEndpoint? = nil, scoreboard: Scoreboard? = nil, logger: Logger
    ) {
        self.operators = operators
        let scoreboard = scoreboard ?? Scoreboard(MetricRegistry(routes: Endpoints.countedRoutes))
        meter = RequestMeter(scoreboard, clock: clock, slowLog: settings.slowLog, logger: logger)
        self.settings = settings
        self.store = store
        self.upstream = upstream
        self.hasher = hasher
        self.clock = clock
        self.identifiers = identifiers
        self.logger = logger
        admission = Admission(settings, store: store, clock: clock, logger: logger)
        keyMask = KeyMask(key: settings.apiKey)
        ledger = Ledger(events: events, clock: clock, identifiers: identifiers, logger: logger)
        self.background = background
        prompts = PromptRunner(
            settings: settings, store: store, upstream: upstream, bus: bus, cache: cache,
            background: background, clock: clock, keyMask: keyMask, scoreboard: scoreboard,
            logger: logger)
    }

    /// Polls the database for replies that were stopped or whose end a request awaits. Called four times a
    /// second.
    package func pollRunningReplies() async {
        await prompts.replies.poll()
    }

    /// Publishes the end of a message that was closed in the place of a dead process.
    package func replyWasClosed(_ message: Message) {
        prompts.announceEnd(of: message)
    }

    /// Does what falls due with time. Called once a second.
    package func tick() async {
        await prompts.tick()
        ledger.tick()
    }

    /// Writes what is still counted and not written. Called once, when all requests have ended.
    package func finish() async {
        await tick()
        ledger.tick(isLast: true)
    }

    /// Answers one request, whatever it is; returns when the answer has ended.
    package func serve(_ request: Request, to writer: any ResponseWriter) async {
        let call = Call(
            request, writer, event: ledger.rows.row(.request, of: request),
            startedAt: clock.monotonicMicroseconds())
        // An admission leaves no row: the call itself follows and leaves one.
        var refusal: Failure?
        if request.asksAdmission {
            refusal = await self.refusal(of: call)
            guard refusal != nil else { return await send(Response(status: 204), call) }
        }
        meter.began(call)
        defer { meter.ended(call) }
        if let refusal { return await answer(call, Response(refusal)) }
        if let operators, let response = await operators.answer(request) {
            call.event.status = response.status
            return await send(response, call)
        }
        await Stages.$current.withValue(call.stages) { await serve(call) }
    }

    private func serve(_ call: Call) async {
        do {
            switch try await respond(to: call) {
            case .whole(let response): await answer(call, response)
            case .preflight(let response):
                call.event.status = response.status
                meter.preflight()
                await send(response, call)
            // From here, so that a stream that lasts for minutes does not hold what came before.
            case .relay(let relay): await relay.run()
            case .nobodyWaits: await abandon(call)
            }
        } catch is ClientGone {
            await abandon(call)
        } catch {
            await answer(call, Response(failure(for: error, in: call)))
        }
    }

    /// The outcome of a request.
    enum Outcome {
        case whole(Response)
        /// The answer to a browser's question, which is counted and leaves no row.
        case preflight(Response)
        case relay(Relay)
        /// The client went away before there was an answer.
        case nobodyWaits
    }

    private func respond(to call: Call) async throws -> Outcome {
        let request = call.request
        if request.isRefused { throw Self.isFull }
        let target: RequestTarget
        switch try admission.enter(request) {
        case .preflight(let response): return .preflight(response)
        case .target(let entered): target = entered
        }
        call.target = target
        switch Endpoints.destination(of: target.path) {
        case .own(let endpoint): return .whole(try await answer(endpoint, target, call))
        case .upstream:
            try await authenticate(call)
            try admission.checkPath(of: target)
            if request.namesWebSocket { throw Failure.noWebSocket }
            return try await forward(call, target).map { .relay($0) } ?? .nobodyWaits
        case .nowhere:
            try await authenticate(call)
            throw Failure(.notFound, "There is nothing at \(target.path).")
        }
    }

    private func answer(
        _ endpoint: Endpoint, _ target: RequestTarget, _ call: Call
    ) async throws -> Response {
        let request = call.request
        call.endpoint = endpoint
        switch endpoint.access {
        case .credential: try await authenticate(call)
        case .open, .logout: try admission.crossSite.checkCaller(of: request)
        }
        let isAnswered = !request.namesWebSocket && endpoint.methods.contains(request.method)
        // Logging out proves the credential itself.
        if endpoint.access == .logout, !isAnswered { try await authenticate(call) }
        if request.namesWebSocket { throw Failure.noWebSocket }
        try endpoint.check(method: request.method)
        call.parameters = try await readParameters(call, target, endpoint)
        guard let operation = endpoint.operation else {
            throw Failure(.notFound, "There is nothing at \(target.path).")
        }
        return try await handle(operation, call)
    }

    /// Why the body of this call is not to be taken; nil where it is. Everything that is wrong but the
    /// credential is for the call itself to report.
    private func refusal(of call: Call) async -> Failure? {
        if call.request.isRefused { return Self.isFull }
        do {
            try await authenticate(call)
            return nil
        } catch {
            return failure(for: error, in: call)
        }
    }

    private static let isFull = Failure(
        .unavailable, "All places are taken. Try again.", retryAfter: 1)

    private func authenticate(_ call: Call) async throws {
        let startedAt = monotonicMicroseconds()
        defer {
            call.stages.set(.auth, to: monotonicMicroseconds() - startedAt)
            call.stages.set(.db, to: 0)
        }
        note(try await admission.admit(call.request).caller, in: call)
    }

    /// Notes whose credential was proved.
    func note(_ caller: Caller, in call: Call) {
        call.caller = caller
        call.event.userID = caller.user.id
    }

    private func readParameters(
        _ call: Call, _ target: RequestTarget, _ endpoint: Endpoint
    ) async throws -> Parameters {
        var body: [UInt8] = []
        let limit = Settings.maxBodyOfOwnEndpoints
        if call.request.method == "POST" {
            body = try await call.request.wholeBody(limit: limit)
        } else if call.request.contentLength ?? 0 > limit {
            throw Failure(.tooLarge, "The body is larger than \(limit) bytes.")
        }
        call.event.bytesIn = Int64(body.count)
        let type = call.request.value(of: "Content-Type")
        guard body.count > Self.longestOnLoop else {
            return try Parameters(
                endpoint.parameters, query: target.query, body: body, contentType: type)
        }
        // A mebibyte can take tens of milliseconds to read: others must not wait for that.
        return try await withTaskExecutorPreference(globalConcurrentExecutor) { [body] in
            try Parameters(endpoint.parameters, query: target.query, body: body, contentType: type)
        }
    }

    /// The most bytes of a body that the event loop reads itself.
    static let longestOnLoop = 16 * 1024

    // MARK: - Answers

    /// The caller's failure for an error; details that the caller must not see go to the log.
    func failure(for error: any Error, in call: Call) -> Failure {
        if let failure = error as? Failure {
            assert(
                call.endpoint?.mayFail(with: failure.code) ?? true,
                "\(call.endpoint?.path ?? "") has no failure \(failure.code) in the table")
            meter.refused(failure, isFull: call.request.isRefused)
            return failure
        }
        logger.error(
            "request failed",
            metadata: [
                "request.id": "\(call.request.id)", "error": "\(String(describing: error))",
            ])
        return .hidden
    }

    /// Records the request, then answers it.
    func answer(_ call: Call, _ answer: Response) async {
        var response = answer
        call.event.status = response.status
        call.event.bytesOut = Int64(response.body.count)
        call.event.end = call.event.end ?? (response.status < 500 ? .done : .error)
        if call.caller == nil && response.status >= 400 {
            ledger.stamp(&call.event, since: call.startedAt)
            ledger.refuse(call.event)
        } else if await !close(call) {
            response = Response(Failure.unrecorded)
        }
        await send(response, call)
    }

    /// Records a request whose client has left, without an answer.
    private func abandon(_ call: Call) async {
        call.event.end = await endOfAbandoned(call)
        if call.caller == nil {
            ledger.stamp(&call.event, since: call.startedAt)
            ledger.refuse(call.event)
        } else {
            _ = await close(call)
        }
        await call.writer.abort()
    }

    /// How a call ended whose client waits no longer.
    func endOfAbandoned(_ call: Call) async -> Event.End {
        await call.writer.isStopped() ? .stopped : .clientGone
    }

    private func send(_ response: Response, _ call: Call) async {
        let hasBody = call.request.method != "HEAD" && response.status != 204
        var headers = response.headers + admission.commonHeaders(call.request)
        if let header = meter.serverTiming(call) { headers.append(header) }
        if response.status != 204 {
            headers.append(Header("Content-Length", String(response.body.count)))
        }
        let startedAt = monotonicMicroseconds()
        defer { call.stages.add(monotonicMicroseconds() - startedAt, to: .write) }
        do {
            try await call.writer.begin(status: response.status, headers: headers)
            if hasBody { try await call.writer.write(response.body, flush: false) }
            await call.writer.finish()
        } catch {
            await call.writer.abort()
        }
    }

    /// Commits the closing row. False when that failed: the request must not count as answered.
    func close(_ call: Call) async -> Bool {
        if call.isClosed { return true }
        let startedAt = monotonicMicroseconds()
        defer { meter.committed(call, since: startedAt) }
        ledger.stamp(&call.event, since: call.startedAt)
        call.isClosed = await ledger.close(call.event)
        return call.isClosed
    }
}
