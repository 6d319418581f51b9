import Formats
import NIOCore

/// The calls below `/mock`, for tests.
struct ControlAnswers: Sendable {
    let ledger: Ledger

    private static let waitLimit = TimeAmount.seconds(15)

    /// The answer, or nothing when the call waits for something.
    func answer(to call: Call) -> Answer? {
        switch call.route.endpoint {
        case .calls:
            return Answer(.array(ledger.rows.map(\.json)))
        case .forgetCalls:
            ledger.forget()
            return Answer([:])
        case .stats:
            return Answer(ledger.counters.json)
        case .wait:
            guard wantedInFlight(call) == nil else { return nil }
            return Refusal(status: 400, message: "in-flight needs a number").answer()
        default:
            return Refusal(status: 404, message: "No such control call").answer()
        }
    }

    /// The answer to a call that waits.
    func waitedAnswer(to call: Call, on loop: any EventLoop) -> EventLoopFuture<Answer> {
        let count = wantedInFlight(call) ?? 0
        let ledger = ledger
        return ledger.wait(forInFlight: count, atMost: ControlAnswers.waitLimit, on: loop)
            .map { isMet in Answer(status: isMet ? 200 : 504, ledger.counters.json) }
    }

    private func wantedInFlight(_ call: Call) -> Int? {
        call.target.parameter("in-flight").flatMap { Int($0) }.flatMap { $0 < 0 ? nil : $0 }
    }
}
