package import Logging
package import Metrics
package import ProxyGPT

/// Records and counts the streamer's requests, from the look at them to the end of what came of them.
/// All endpoints share one, since the budget of rows for refused requests is the process's.
package struct StreamRecorder: Sendable {
    private let events: any EventLog
    private let clock: any Clock
    private let identifiers: any IdentifierSource
    let crossSite: CrossSite
    private let refusals: RefusalRecorder
    private let meter: StreamMeter
    private let logger: Logger

    package init(
        settings: Settings, events: any EventLog, clock: any Clock,
        identifiers: any IdentifierSource, scoreboard: Scoreboard? = nil, logger: Logger
    ) {
        self.events = events
        self.clock = clock
        self.identifiers = identifiers
        crossSite = CrossSite(settings, logger: logger)
        self.logger = logger
        refusals = RefusalRecorder(events: events, clock: clock, identifiers: identifiers)
        meter = StreamMeter(scoreboard)
    }

    /// Does what falls due with time. Called once a second.
    /// - Parameter isLast: whether nothing comes after it.
    package func tick(isLast: Bool = false) {
        refusals.writeCounts(isLast: isLast)
    }

    /// Headers of every answer to this request.
    func commonHeaders(_ request: Request) -> [Header] {
        [Header("X-Request-Id", request.id)] + crossSite.headers(for: request)
    }

    /// The row of a request that is looked at now.
    func began(_ request: Request, _ kind: Event.Kind) -> Event {
        let event = Event(
            id: Event.ID(identifiers.next()), timestamp: clock.now(), kind: kind,
            requestID: request.id, clientAddress: request.clientAddress, method: request.method,
            path: String(request.path))
        meter.began(event)
        return event
    }

    /// Waits for the commit of a row that was opened.
    func opened(_ event: Event) async throws(Failure) {
        do {
            try await events.opened(event.id)
        } catch {
            log("event not recorded", error, event.requestID)
            throw .unrecorded
        }
    }

    /// Counts a browser's question whether a page may call, which leaves no row.
    func preflight(
        _ begun: Event, since startedAt: Int64, _ request: Request, _ answer: Response
    ) -> Response {
        var (event, response) = (begun, answer)
        event.status = response.status
        event.durationMicroseconds = clock.monotonicMicroseconds() - startedAt
        meter.ended(event)
        meter.preflight()
        if response.status != 204 {
            response.headers.append(Header("Content-Length", String(response.body.count)))
        }
        response.headers += commonHeaders(request)
        return response
    }

    /// Closes the row of a request that was answered as a whole; the answer is another where it cannot
    /// be recorded.
    func finish(
        _ begun: Event, since startedAt: Int64, _ answer: Response, _ commonHeaders: [Header],
        isHeadOnly: Bool = false
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
            response = Response(Failure.unrecorded)
        }
        if response.status != 204 && response.status != 304 {
            response.headers.append(Header("Content-Length", String(response.body.count)))
        }
        if isHeadOnly { response.body = [] }
        response.headers += commonHeaders
        return response
    }

    /// Closes the row of a request of which nothing more is to be sent.
    func ended(_ begun: Event, since startedAt: Int64) async {
        var event = begun
        event.durationMicroseconds = clock.monotonicMicroseconds() - startedAt
        meter.ended(event)
        await close(event)
    }

    /// What a client is told of an error.
    func failure(for error: any Error, _ request: Request) -> Failure {
        if let failure = error as? Failure {
            meter.refused(failure)
            return failure
        }
        log("request failed", error, request.id)
        return .hidden
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

    private func log(_ message: Logger.Message, _ error: any Error, _ id: String) {
        logger.error(
            message, metadata: ["request.id": "\(id)", "error": "\(String(describing: error))"])
    }
}

extension Failure {
    /// No row can be written, as on a full disk.
    static let unrecorded = Failure(
        .unavailable, "Nothing can be recorded just now.", retryAfter: 5)
}
