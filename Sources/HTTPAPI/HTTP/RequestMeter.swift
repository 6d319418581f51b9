internal import Gateway
internal import Logging
internal import Metrics
internal import ProxyGPT

/// Counts requests, reports to clients where their time went, and logs slow requests.
struct RequestMeter: Sendable {
    private let scoreboard: Scoreboard
    private let clock: any Clock
    /// Microseconds of own time from which a request is slow; 0 for never.
    private let limit: Int64
    private let logger: Logger

    init(_ scoreboard: Scoreboard, clock: any Clock, slowLog: Int64, logger: Logger) {
        self.scoreboard = scoreboard
        self.clock = clock
        limit = slowLog * 1000
        self.logger = logger
    }

    private var registry: MetricRegistry { scoreboard.registry }

    // MARK: - A request

    func began(_ call: Call) {
        scoreboard.began(route: call.route, at: call.event.timestamp.milliseconds * 1000)
    }

    /// Counts a request that has ended. Called once.
    func ended(_ call: Call) {
        let total = clock.monotonicMicroseconds() - call.startedAt
        scoreboard.ended(route: call.route, status: call.event.status, after: total)
        upstreamEnded(call.event)
        let upstream = time(of: .upstream, in: call)
        scoreboard.observe(registry.overhead, call.route, max(0, total - upstream))
        let own = max(0, total - upstream - call.stages[.write])
        if limit > 0, own >= limit {
            scoreboard.count(registry.slowRequests)
            logger.warning("slow request", metadata: metadata(call, total))
        } else {
            logger.debug("request", metadata: metadata(call, total))
        }
    }

    private func metadata(_ call: Call, _ total: Int64) -> Logger.Metadata {
        var metadata: Logger.Metadata = [
            "request.id": "\(call.request.id)", "http.method": "\(call.event.method)",
            "http.route": "\(registry.routes[call.route])", "milliseconds": "\(Self.text(total))",
        ]
        if let status = call.event.status { metadata["http.status"] = "\(status)" }
        if let end = call.event.end { metadata["end"] = "\(end.rawValue)" }
        for (name, stage) in Self.stages {
            let time = time(of: stage, in: call)
            if time > 0 { metadata["milliseconds.\(name)"] = "\(Self.text(time))" }
        }
        return metadata
    }

    private static let stages: [(String, Stages.Stage)] = [
        ("auth", .auth), ("db", .db), ("commit", .commit), ("upstream", .upstream),
        ("write", .write),
    ]

    private func time(of stage: Stages.Stage, in call: Call) -> Int64 {
        stage == .upstream
            ? call.event.upstreamMicroseconds ?? call.stages[.upstream] : call.stages[stage]
    }

    /// Milliseconds with three places.
    private static func text(_ microseconds: Int64) -> String {
        let rest = String(microseconds % 1000)
        return "\(microseconds / 1000)." + String(repeating: "0", count: 3 - rest.utf8.count) + rest
    }

    /// The times that are known when the answer's head leaves, for authenticated callers alone: they would
    /// help strangers to find out which names have an account.
    func serverTiming(_ call: Call) -> Header? {
        guard call.caller != nil else { return nil }
        let total = max(0, clock.monotonicMicroseconds() - call.startedAt)
        var parts: [String] = []
        for (name, stage) in Self.stages {
            let time = time(of: stage, in: call)
            if time > 0 { parts.append("\(name);dur=\(Self.text(time))") }
        }
        parts.append("total;dur=\(Self.text(total))")
        return Header("Server-Timing", parts.joined(separator: ", "))
    }

    // MARK: - Parts of it

    /// Counts a wait for a row of the event log.
    func committed(_ call: Call, since startedAt: Int64) {
        let time = monotonicMicroseconds() - startedAt
        call.stages.add(time, to: .commit)
        scoreboard.observe(registry.databaseWait, MetricRegistry.Operation.event.rawValue, time)
    }

    /// Counts what a call of the upstream came to, if there was one.
    func upstreamEnded(_ event: Event) {
        scoreboard.countUpstream(event)
    }

    func firstToken(since startedAt: Int64, isReply: Bool) {
        scoreboard.observe(
            registry.firstToken, isReply ? 1 : 0, clock.monotonicMicroseconds() - startedAt)
    }

    func refused(_ failure: Failure, isFull: Bool) {
        scoreboard.countRefusal(failure, isFull: isFull)
    }

    func preflight() {
        scoreboard.count(registry.preflights)
    }

    func loginFailed() {
        scoreboard.count(registry.loginFailures)
    }
}
