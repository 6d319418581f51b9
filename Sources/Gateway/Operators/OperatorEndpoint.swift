// `/live`, `/ready`, `/metrics` and `/status`: for load balancers and operators. Nothing of it is
// recorded, no answer names a user, and none asks the upstream.

internal import Formats
package import Metrics
package import ProxyGPT

/// Answers load balancers, monitoring and operators.
package struct OperatorEndpoint: Sendable {
    /// How often the metrics of all processes are tried, some milliseconds apart, while another process reads
    /// them.
    private static let tries = 50

    private let readiness: Readiness
    private let boards: ScoreboardDirectory
    private let version: String
    private let now: @Sendable () -> Timestamp
    private let pause: @Sendable () async -> Void

    /// - Parameter pause: waits for some milliseconds.
    package init(
        readiness: Readiness, boards: ScoreboardDirectory, version: String,
        now: @escaping @Sendable () -> Timestamp, pause: @escaping @Sendable () async -> Void
    ) {
        self.readiness = readiness
        self.boards = boards
        self.version = version
        self.now = now
        self.pause = pause
    }

    /// The answer to a request for one of its paths, written as they are; nil for all others, and for
    /// metrics that a stranger asks for.
    package func answer(_ request: Request) async -> Response? {
        // The length first: this check stands before every request.
        let path = String(request.path)
        guard path.utf8.count <= Endpoints.readyStreamer.utf8.count, path.isShortASCII else {
            return nil
        }
        switch path {
        case Endpoints.live, Endpoints.ready, Endpoints.readyStreamer:
            guard Self.checking.contains(request.method) else {
                return Self.wrongMethod(Self.checking)
            }
            var response =
                path == Endpoints.live ? Response(json: ["status": "live"]) : await ready()
            if request.method == "OPTIONS" {
                response.headers.append(Header("Allow", Self.checking.joined(separator: ", ")))
            }
            return response
        case Endpoints.metrics where request.isOperators,
            Endpoints.status where request.isOperators:
            guard Self.reading.contains(request.method) else {
                return Self.wrongMethod(Self.reading)
            }
            return path == Endpoints.metrics ? await metrics() : await status(request.target)
        default: return nil
        }
    }

    /// Whether a request is this endpoint's in the streamer, which shows no metrics.
    package static func serves(_ request: Request) -> Bool {
        let path = request.path
        return [Endpoints.live, Endpoints.ready, Endpoints.readyStreamer].contains {
            path.hasSameBytes(as: $0)
        }
    }

    /// The whole answer with the headers that every answer has, for callers that do not add them.
    package func answerWhole(_ request: Request) async -> Response {
        var response =
            await answer(request) ?? Response(Failure(.notFound, "There is nothing here."))
        response.headers.append(Header("X-Request-Id", request.id))
        response.headers.append(Header("Content-Length", String(response.body.count)))
        if request.method == "HEAD" { response.body = [] }
        return response
    }

    private static let reading = ["GET", "HEAD"]
    /// Balancers ask with OPTIONS, too, and go by the status.
    private static let checking = ["GET", "HEAD", "OPTIONS"]

    private static func wrongMethod(_ methods: [String]) -> Response {
        Response(
            Failure(
                .methodNotAllowed, "This path is only for reading.",
                allow: methods.joined(separator: ", ")))
    }

    private func ready() async -> Response {
        let problems = await readiness.problems()
        if problems.isEmpty { return Response(json: ["status": "ready"]) }
        return Response(
            Failure(.unavailable, problems.joined(separator: " "), retryAfter: 1))
    }

    private func metrics() async -> Response {
        guard let text = await read({ try boards.exposition(version: version) }) else {
            return Self.busy
        }
        return Response(
            status: Self.fine,
            headers: [
                Header("Content-Type", "text/plain; version=0.0.4; charset=utf-8"),
                Header("Cache-Control", "private, no-store"),
                Header("X-Content-Type-Options", "nosniff"),
            ], body: Array(text.utf8))
    }

    private static let fine = 200
    private static let busy = Response(
        Failure(.unavailable, "The metrics are being read.", retryAfter: 1))

    private func status(_ target: String) async -> Response {
        guard let processes = await read({ try boards.processes() }) else { return Self.busy }
        let words = (target.rest(behind: "?") ?? "").parts(separatedBy: "&")
            .map { $0.beginning(before: "=") }
        func asks(for word: String) -> Bool { words.contains { $0.hasSameBytes(as: word) } }
        let page = StatusPage(processes: processes, version: version, now: now())
        if asks(for: "json") {
            return Response(json: page.json(isFull: asks(for: "full")))
        }
        return Response(
            status: Self.fine,
            headers: [
                Header("Content-Type", "text/plain; charset=utf-8"),
                Header("Cache-Control", "private, no-store"),
                Header("X-Content-Type-Options", "nosniff"),
            ], body: Array(page.text(isFull: asks(for: "full")).utf8))
    }

    private func read<T>(_ body: () throws -> T) async -> T? {
        for _ in 0..<Self.tries {
            if let result = try? body() { return result }
            await pause()
        }
        return nil
    }
}
