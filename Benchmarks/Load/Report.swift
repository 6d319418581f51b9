/// Why a call failed.
enum CallError: String, CaseIterable, Sendable {
    /// No connection.
    case connect
    /// A complete answer with a status that is not 2xx.
    case status
    /// The connection closed before the answer was complete, or a stream lacked its last event.
    case cut
    /// No complete answer in time.
    case timeout
    /// Bytes that are no HTTP/1.1 answer.
    case invalid
}

/// What a run has measured.
struct Report: Sendable {
    var succeeded = 0
    var errors: [CallError: Int] = [:]
    var statuses: [Int: Int] = [:]
    var neverStarted = 0
    var seconds: Double = 0
    var inFlight = 0
    var maxInFlight = 0
    var answering = 0
    var maxAnswering = 0
    var connectionsOpened = 0
    var bytesReceived = 0
    var firstByte = Histogram()
    var lastByte = Histogram()

    var isStream = false
    var complete = 0
    var pieces = 0
    var firstPiece = Histogram()
    var gaps = Histogram()

    /// The report as one line of JSON.
    var json: String {
        let failed = errors.values.reduce(0, +)
        var members = [
            ("requests", "\(succeeded + failed)"),
            ("succeeded", "\(succeeded)"),
            (
                "errors",
                Report.object(CallError.allCases.map { ($0.rawValue, "\(errors[$0] ?? 0)") })
            ),
            (
                "statuses",
                Report.object(statuses.sorted { $0.key < $1.key }.map { ("\($0)", "\($1)") })
            ),
            ("never_started", "\(neverStarted)"),
            ("seconds", Report.rounded(seconds)),
            ("rps", Report.rounded(seconds > 0 ? Double(succeeded) / seconds : 0)),
            ("max_in_flight", "\(maxInFlight)"),
            ("max_answering", "\(maxAnswering)"),
            ("connections_opened", "\(connectionsOpened)"),
            ("bytes_received", "\(bytesReceived)"),
            ("first_byte_us", Report.object(firstByte)),
            ("last_byte_us", Report.object(lastByte)),
        ]
        if isStream {
            members += [
                ("complete", "\(complete)"),
                ("pieces", "\(pieces)"),
                ("first_piece_us", Report.object(firstPiece)),
                ("gap_us", Report.object(gaps)),
            ]
        }
        return Report.object(members)
    }

    static func object(_ members: [(String, String)]) -> String {
        "{" + members.map { "\"\($0)\":\($1)" }.joined(separator: ",") + "}"
    }

    static func object(_ histogram: Histogram) -> String {
        object([
            ("p50", "\(histogram.quantile(0.5))"), ("p90", "\(histogram.quantile(0.9))"),
            ("p99", "\(histogram.quantile(0.99))"), ("max", "\(histogram.maximum)"),
        ])
    }

    private static func rounded(_ value: Double) -> String {
        "\((value * 1000).rounded() / 1000)"
    }
}
