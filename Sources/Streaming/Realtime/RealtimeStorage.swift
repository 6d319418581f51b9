// What WebSocket calls need of the database: on the storage loop, never on that of the connections.

internal import EventLoop
internal import Gateway
internal import Logging
internal import ProxyGPT

/// The end of a call, as it is recorded.
enum RealtimeRecord: Sendable {
    /// The upstream was not asked, or not waited for.
    case stopped(Failure)
    /// With the upstream's whole answer, after so many microseconds.
    case refused(UpstreamHead, [UInt8], Int64)
    case failed(UpstreamFailure, Int64)
    case ended(RealtimeEnd)
}

/// What the calls ask of the storage loop. Replies come on that loop.
protocol RealtimeRequests: Sendable {
    /// Records an end; the reply is what the client is told of it, nil for nothing.
    func record(
        _ record: RealtimeRecord, of call: RealtimeCall,
        reply: @escaping @Sendable (Response?) -> Void)

    /// Finds out of each whether its session still is one; nil where that could not be found out.
    func check(
        _ calls: [(number: Int, call: RealtimeCall)],
        reply: @escaping @Sendable ([(number: Int, isAllowed: Bool?)]) -> Void)
}

/// Answers the calls out of the store.
@EventLoop final class RealtimeStorage: RealtimeRequests {
    private nonisolated let endpoint: RealtimeEndpoint
    private nonisolated let logger: Logger
    private let records = PendingRecords()

    nonisolated init(endpoint: RealtimeEndpoint, logger: Logger) {
        self.endpoint = endpoint
        self.logger = logger
    }

    /// Decides about a request.
    nonisolated func answer(
        _ request: Request, reply: @escaping @Sendable (ConnectionHandler.Decision) -> Void
    ) {
        EventLoop.spawn {
            switch await self.endpoint.answer(request) {
            case .response(let response): reply(.response(response))
            case .call(let call): reply(.call(call))
            }
        }
    }

    nonisolated func record(
        _ record: RealtimeRecord, of call: RealtimeCall,
        reply: @escaping @Sendable (Response?) -> Void
    ) {
        EventLoop.spawn {
            await self.records.record { reply(await self.write(record, call)) }
        }
    }

    private func write(_ record: RealtimeRecord, _ call: RealtimeCall) async -> Response? {
        switch record {
        case .stopped(let failure):
            return await endpoint.turnedAway(call, failure)
        case .refused(let head, let body, let microseconds):
            return await endpoint.refused(call, head, body, after: microseconds)
        case .failed(let failure, let microseconds):
            return await endpoint.failed(call, failure, after: microseconds)
        case .ended(let end):
            await endpoint.ended(call, end)
            return nil
        }
    }

    nonisolated func check(
        _ calls: [(number: Int, call: RealtimeCall)],
        reply: @escaping @Sendable ([(number: Int, isAllowed: Bool?)]) -> Void
    ) {
        EventLoop.spawn {
            reply(
                await verdicts(on: calls.map { (number: $0.number, subject: $0.call) }) {
                    try await self.endpoint.isStillAllowed($0)
                } failed: { call, error in
                    self.logger.error(
                        "call not checked",
                        metadata: [
                            "request.id": "\(call.requestID)",
                            "error": "\(String(describing: error))",
                        ])
                })
        }
    }

    /// Returns once every end that was handed in before is recorded.
    func finishRecording() async {
        await records.finish()
    }
}
