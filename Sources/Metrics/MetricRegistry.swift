// All metrics, each with its index among the counters of a process.
//
// The order of the metrics is the layout of the file. Processes with different registries do not read each
// other's files.

/// The kind of a process.
package enum ProcessKind: Int, Sendable, CaseIterable {
    case worker
    case streamer

    package var name: String {
        switch self {
        case .worker: "worker"
        case .streamer: "streamer"
        }
    }
}

/// Statuses by their hundreds, and `none` for requests without an answer.
package enum StatusClass {
    static let names = ["1xx", "2xx", "3xx", "4xx", "5xx", "none"]

    package static func index(of status: Int?) -> Int {
        guard let status, (100...599).contains(status) else { return 5 }
        return status / 100 - 1
    }
}

/// All metrics by name.
package final class MetricRegistry: Sendable {
    package enum Transport: Int, Sendable, CaseIterable {
        case serverSentEvents, webSocket
    }

    package enum Refusal: Int, Sendable, CaseIterable {
        /// The worker has `MAX_IN_FLIGHT` requests.
        case inFlight
        /// A user has reached a limit, or tries too often.
        case rateLimited
        /// The database or another dependency is unreachable or busy.
        case unavailable
        /// The streamer or the user has reached the limit of streams.
        case streams
    }

    package enum Operation: Int, Sendable, CaseIterable {
        case read, transaction, event
    }

    package let routes: [String]
    package let requests: Counter
    package let requestTime: Histogram
    package let overhead: Histogram
    package let firstToken: Histogram
    package let inFlight: Gauge
    package let refusals: Counter
    package let slowRequests: Counter
    package let loginFailures: Counter
    package let preflights: Counter
    package let upstreamAnswers: Counter
    package let upstreamTime: Histogram
    package let commitRows: Histogram
    package let commitTime: Histogram
    package let databaseWait: Histogram
    package let databaseConnections: Gauge
    package let databaseUp: Gauge
    package let redisUp: Gauge
    package let eventsDropped: Counter
    package let busLag: Histogram
    package let subscribers: Gauge
    package let framesDelivered: Counter
    package let streamsBegun: Counter
    package let streamsResumed: Counter
    package let streamResets: Counter
    package let streamsEnded: Counter
    package let loopTurn: Histogram
    package let processes: Gauge
    package let processMemory: Gauge
    package let processCPU: Counter
    package let processDescriptors: Gauge
    package let processStart: Gauge
    let tokens: Counter
    let families: [MetricFamily]
    /// Words of a process, and what tells one layout from another.
    let counterCount: Int
    let fingerprint: UInt64

    package static let streamEndings = [
        "left", "closed", "protocol_error", "dead", "slow", "not_allowed", "restart", "overload",
        "failed",
    ]

    /// Microseconds, up to the longest call.
    private static let times: [Int64] = [
        500, 1000, 2500, 5000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
        2_500_000, 5_000_000, 10_000_000, 30_000_000, 60_000_000, 300_000_000,
    ]
    private static let shortTimes: [Int64] = [
        50, 100, 250, 500, 1000, 2500, 5000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000,
        5_000_000,
    ]

    /// Microseconds, with most bounds around five milliseconds, the longest turn that a request may take.
    private static let turnTimes: [Int64] = [
        100, 250, 500, 1000, 2000, 3000, 4000, 5000, 7500, 10_000, 25_000, 50_000, 100_000,
        1_000_000,
    ]

    /// - Parameter routes: the routes that requests are counted under; a closed list from the router.
    package init(routes: [String]) {
        self.routes = routes
        var layout = LayoutBuilder(from: CounterLayout.headCount)
        let route = Label("route", routes)
        let status = Label("status", StatusClass.names)
        let process = Label("process", ProcessKind.allCases.map(\.name))
        let transport = Label("transport", ["sse", "websocket"])

        requests = layout.counter("requests_total", "Requests that ended.", [route, status])
        requestTime = layout.histogram(
            "request_seconds", "From a request's first byte to its last row.", [route, status],
            Self.times)
        overhead = layout.histogram(
            "overhead_seconds", "A request's time without the upstream's.", [route],
            Self.shortTimes)
        firstToken = layout.histogram(
            "first_token_seconds", "From a call of the upstream to the first words of its reply.",
            [Label("call", ["forward", "reply"])], Self.times)
        inFlight = layout.gauge("in_flight", "Requests and streams under way.", [process])
        refusals = layout.counter(
            "refusals_total", "Requests that were turned away for want of room.",
            [Label("reason", ["in_flight", "rate_limited", "unavailable", "streams"])])
        slowRequests = layout.counter("slow_requests_total", "Requests in the slow log.")
        loginFailures = layout.counter("login_failures_total", "Logins with a wrong password.")
        preflights = layout.counter(
            "preflights_total", "Questions of browsers whether a page may call.")
        upstreamAnswers = layout.counter(
            "upstream_answers_total", "Calls of the upstream by status, none without an answer.",
            [status])
        upstreamTime = layout.histogram(
            "upstream_seconds", "Calls of the upstream, to the end of the answer.", [], Self.times)
        commitRows = layout.histogram(
            "commit_rows", "Rows and transactions in one group commit.", [],
            [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000], scale: 1)
        commitTime = layout.histogram(
            "commit_seconds", "One group commit.", [], Self.shortTimes)
        databaseWait = layout.histogram(
            "database_wait_seconds", "What a request waits for the database.",
            [Label("operation", ["read", "transaction", "event"])], Self.shortTimes)
        databaseConnections = layout.gauge(
            "database_connections", "Connections to PostgreSQL.",
            [Label("state", ["busy", "idle"])])
        databaseUp = layout.state("database_up", "Whether every process reaches the database.")
        redisUp = layout.state("redis_up", "Whether every process reaches Redis, where it is set.")
        eventsDropped = layout.counter("events_dropped_total", "Event rows that got lost.")
        busLag = layout.histogram(
            "bus_lag_seconds", "From a frame's commit to the streamer that reads it.", [],
            Self.shortTimes)
        subscribers = layout.gauge("subscribers", "Open streams of chats.", [transport])
        framesDelivered = layout.counter(
            "frames_delivered_total", "Frames given to subscribers.", [transport])
        streamsBegun = layout.counter("streams_total", "Streams that began.", [transport])
        streamsResumed = layout.counter(
            "streams_resumed_total", "Streams that went on after an id.")
        streamResets = layout.counter(
            "stream_resets_total", "Streams that were told the messages anew.")
        streamsEnded = layout.counter(
            "streams_ended_total", "Streams that ended, by why.",
            [Label("reason", Self.streamEndings)])
        loopTurn = layout.histogram(
            "loop_turn_seconds", "Turns of the event loop, without its waits.", [process],
            Self.turnTimes)
        processes = layout.gauge("processes", "Processes that live.", [process])
        processMemory = layout.gauge("process_memory_bytes", "Resident memory.", [process])
        processCPU = layout.counter(
            "process_cpu_seconds_total", "Processor time, user and system.", [process],
            scale: 1e6)
        processDescriptors = layout.gauge(
            "process_open_descriptors", "Open file descriptors.", [process])
        processStart = layout.smallest(
            "process_start_time_seconds", "When the oldest one started.", [process])
        tokens = layout.tokens()
        families = layout.families
        counterCount = layout.next
        fingerprint = layout.fingerprint
    }

    /// The series of a route and status.
    package func index(route: Int, status: Int?) -> Int {
        route * StatusClass.names.count + StatusClass.index(of: status)
    }
}

/// Assigns counters to families, one after another.
private struct LayoutBuilder {
    private(set) var families: [MetricFamily] = []
    private(set) var next: Int

    init(from start: Int) { next = start }

    private mutating func add(
        _ name: String, _ help: String, _ kind: MetricFamily.Kind, _ labels: [Label],
        _ scale: Double
    ) -> MetricFamily {
        let family = MetricFamily(
            name: "proxy_gpt_" + name, help: help, kind: kind, labels: labels, offset: next,
            scale: scale)
        families.append(family)
        next += family.series * family.width
        return family
    }

    mutating func counter(
        _ name: String, _ help: String, _ labels: [Label] = [], scale: Double = 1
    ) -> Counter {
        let family = add(name, help, .counter, labels, scale)
        return Counter(offset: family.offset, series: family.series)
    }

    mutating func gauge(_ name: String, _ help: String, _ labels: [Label]) -> Gauge {
        let family = add(name, help, .gauge, labels, 1)
        return Gauge(offset: family.offset, series: family.series)
    }

    mutating func smallest(_ name: String, _ help: String, _ labels: [Label]) -> Gauge {
        let family = add(name, help, .smallest, labels, 1e6)
        return Gauge(offset: family.offset, series: family.series)
    }

    mutating func state(_ name: String, _ help: String) -> Gauge {
        let family = add(name, help, .state, [], 1)
        return Gauge(offset: family.offset, series: family.series)
    }

    mutating func histogram(
        _ name: String, _ help: String, _ labels: [Label], _ bounds: [Int64], scale: Double = 1e6
    ) -> Histogram {
        let family = add(name, help, .histogram(bounds), labels, scale)
        return Histogram(offset: family.offset, series: family.series, bounds: bounds)
    }

    /// Tokens by model and kind. Its names are the process's own, and it is no family: those of all
    /// processes are put together by name.
    mutating func tokens() -> Counter {
        defer { next += 2 * (CounterLayout.models + 1) }
        return Counter(offset: next, series: 2 * (CounterLayout.models + 1))
    }

    /// FNV-1a over everything that a value's meaning rests on.
    var fingerprint: UInt64 {
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        func take(_ text: String) {
            for byte in text.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
        }
        take("1 \(next)")
        for family in families {
            take("|\(family.name) \(family.kind) \(family.offset) \(family.scale)")
            for label in family.labels { take(" \(label.name)=\(label.values)") }
        }
        return hash
    }
}
