internal import Formats
package import Logging
internal import Metrics
internal import ProxyGPT
internal import Synchronization

/// Logs the pages and host names that are refused, with the setting that would let them pass. A stranger
/// decides how often, so the lines of a minute are bounded, and the next line counts the others.
package final class OriginReport: Sendable {
    private struct State {
        var minuteEnd: Int64 = 0
        var lines = 0
        var skipped = 0
    }

    /// Lines within a minute.
    package static let limit = 10
    private static let minute: Int64 = 60_000_000

    private let logger: Logger
    private let now: @Sendable () -> Int64
    private let state = Mutex(State())

    /// - Parameter now: the monotonic time in microseconds.
    package init(
        _ logger: Logger, now: @escaping @Sendable () -> Int64 = { monotonicMicroseconds() }
    ) {
        self.logger = logger
        self.now = now
    }

    /// Logs one refusal.
    /// - Parameter remedy: the setting as it would have to be, where that is known.
    package func refused(_ request: Request, remedy: String?) {
        let now = now()
        let skipped: Int? = state.withLock { state in
            if now >= state.minuteEnd {
                state.minuteEnd = now &+ Self.minute
                state.lines = 0
            }
            guard state.lines < Self.limit else {
                state.skipped += 1
                return nil
            }
            state.lines += 1
            defer { state.skipped = 0 }
            return state.skipped
        }
        guard let skipped else { return }
        var metadata: Logger.Metadata = [
            "request.id": "\(request.id)",
            "request.host": "\(Self.quoted(request.value(of: "Host")))",
            "request.origin": "\(Self.quoted(request.values(of: "Origin").first))",
        ]
        if let remedy { metadata["settings.remedy"] = "\(remedy)" }
        if skipped > 0 { metadata["refusals.skipped"] = "\(skipped)" }
        logger.warning("origin refused", metadata: metadata)
    }

    private static func quoted(_ text: String?) -> String {
        text.map { String(quoting: $0.utf8) } ?? "none"
    }
}
