// What WebSocket calls need of the database.

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
    /// Records an end; the reply is the client's answer, nil for none.
    func record(
        _ record: RealtimeRecord, of call: RealtimeCall,
        reply: @escaping @Sendable (Response?) -> Void)

    /// Finds out of each whether its session still is one; nil where that could not be found out.
    func check(
        _ calls: [(number: Int, call: RealtimeCall)],
        reply: @escaping @Sendable ([(number: Int, isAllowed: Bool?)]) -> Void)
}

extension StorageGateway: RealtimeRequests {
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
            return await calls.turnedAway(call, failure)
        case .refused(let head, let body, let microseconds):
            return await calls.refused(call, head, body, after: microseconds)
        case .failed(let failure, let microseconds):
            return await calls.failed(call, failure, after: microseconds)
        case .ended(let end):
            await calls.ended(call, end)
            return nil
        }
    }

    nonisolated func check(
        _ checked: [(number: Int, call: RealtimeCall)],
        reply: @escaping @Sendable ([(number: Int, isAllowed: Bool?)]) -> Void
    ) {
        EventLoop.spawn {
            reply(
                await verdicts(on: checked.map { (number: $0.number, subject: $0.call) }) {
                    try await self.calls.isStillAllowed($0)
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
}
