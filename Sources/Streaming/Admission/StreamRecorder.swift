internal import Gateway
package import Logging
package import Metrics
package import ProxyGPT

/// Admits, records and counts the streamer's requests from their arrival to the end of their stream or call. All endpoints share one, since the budget of rows for refused requests is the process's.
package struct StreamRecorder: Sendable {
    private let ledger: Ledger
    let admission: Admission
    private let meter: StreamMeter
    private let logger: Logger

    package init(
        settings: Settings, store: any Store, events: any EventLog, clock: any Clock,
        identifiers: any IdentifierSource, scoreboard: Scoreboard? = nil, logger: Logger
    ) {
        ledger = Ledger(events: events, clock: clock, identifiers: identifiers, logger: logger)
        admission = Admission(settings, store: store, clock: clock, logger: logger)
        self.logger = logger
        meter = StreamMeter(scoreboard)
    }

    /// Does what falls due with time. Called once a second.
    /// - Parameter isLast: whether nothing comes after it.
    package func tick(isLast: Bool = false) {
        ledger.tick(isLast: isLast)
    }

    /// The row of a request that has just arrived.
    func began(_ request: Request, _ kind: Event.Kind) -> Event {
        let event = ledger.rows.row(kind, of: request)
        meter.began(event)
        return event
    }

    /// Opens the row of a request that is granted.
    func open(_ event: Event) {
        ledger.open(event)
    }

    /// Waits for the commit of a row that was opened.
    func opened(_ event: Event) async throws(Failure) {
        try await ledger.opened(event)
    }

    /// Counts a browser's question whether a page may call, which leaves no row.
    func preflight(
        _ begun: Event, since startedAt: Int64, _ request: Request, _ answer: Response
    ) -> Response {
        var (event, response) = (begun, answer)
        event.status = response.status
        ledger.stamp(&event, since: startedAt)
        meter.ended(event)
        meter.preflight()
        if response.status != 204 {
            response.headers.append(Header("Content-Length", String(response.body.count)))
        }
        response.headers += admission.commonHeaders(request)
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
        ledger.stamp(&event, since: startedAt)
        meter.ended(event)
        if event.userID == nil {
            ledger.refuse(event)
        } else if await !ledger.close(event) {
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
        ledger.stamp(&event, since: startedAt)
        meter.ended(event)
        _ = await ledger.close(event, orElse: nil)
    }

    /// The failure that a client receives for an error.
    func failure(for error: any Error, _ request: Request) -> Failure {
        if let failure = error as? Failure {
            meter.refused(failure)
            return failure
        }
        logger.error(
            "request failed",
            metadata: ["request.id": "\(request.id)", "error": "\(String(describing: error))"])
        return .hidden
    }
}
