package import Metrics
package import ProxyGPT

extension Scoreboard {
    /// Counts the call of the upstream that a row records, if there was one.
    package func countUpstream(_ event: Event) {
        guard let time = event.upstreamMicroseconds else { return }
        count(registry.upstreamAnswers, StatusClass.index(of: event.upstreamStatus))
        observe(registry.upstreamTime, 0, time)
        guard event.upstreamStatus.map({ $0 < 300 }) == true else { return }
        countTokens(
            model: event.model, prompt: event.promptTokens, completion: event.completionTokens)
    }

    /// Counts a request that was turned away for want of room; nothing for other failures.
    package func countRefusal(_ failure: Failure, isFull: Bool) {
        let reason: MetricRegistry.Refusal
        switch failure.code {
        case .rateLimited: reason = .rateLimited
        case .unavailable: reason = isFull ? .inFlight : .unavailable
        default: return
        }
        count(registry.refusals, reason.rawValue)
    }
}
