internal import Glibc
internal import Synchronization

/// The metrics of this process. Every method may be called on any thread and takes some nanoseconds.
package final class Scoreboard: Sendable {
    package enum State: Int, Sendable {
        case starting, ready, draining
    }

    package let registry: MetricRegistry
    package let kind: ProcessKind
    let counters: SharedCounters
    /// Slots of models by name.
    private let models = Mutex<[String: Int]>([:])

    init(
        _ registry: MetricRegistry, _ kind: ProcessKind, _ counters: SharedCounters,
        startedAt: Int64
    ) {
        self.registry = registry
        self.kind = kind
        self.counters = counters
        counters.set(UInt64(kind.rawValue), at: CounterLayout.kindIndex)
        counters.set(UInt64(getpid()), at: CounterLayout.processIndex)
        counters.set(UInt64(max(0, startedAt)), at: CounterLayout.startIndex)
        counters.set(registry.fingerprint, at: CounterLayout.fingerprintIndex)
        counters.publish(CounterLayout.magic, at: CounterLayout.magicIndex)
        set(registry.processes, kind.rawValue, 1)
        set(registry.processStart, kind.rawValue, startedAt)
    }

    /// A scoreboard that no other process sees.
    package convenience init(_ registry: MetricRegistry, _ kind: ProcessKind = .worker) {
        self.init(registry, kind, SharedCounters(count: registry.counterCount), startedAt: 0)
    }

    // MARK: - Counting

    package func count(_ counter: Counter, _ series: Int = 0, by number: Int64 = 1) {
        guard number > 0, series >= 0, series < counter.series else { return }
        counters.add(UInt64(number), at: counter.offset + series)
    }

    package func set(_ gauge: Gauge, _ series: Int = 0, _ number: Int64) {
        guard series >= 0, series < gauge.series else { return }
        counters.set(UInt64(max(0, number)), at: gauge.offset + series)
    }

    /// Sets a counter whose value the system counts.
    package func set(_ counter: Counter, _ series: Int = 0, to number: Int64) {
        guard series >= 0, series < counter.series else { return }
        counters.set(UInt64(max(0, number)), at: counter.offset + series)
    }

    /// Sets whether a dependency is reachable.
    package func set(_ state: Gauge, isUp: Bool) {
        counters.set(isUp ? 2 : 1, at: state.offset)
    }

    package func observe(_ histogram: Histogram, _ series: Int = 0, _ value: Int64) {
        guard series >= 0, series < histogram.series else { return }
        let start = histogram.offset + series * histogram.width
        var bucket = 0
        while bucket < histogram.bounds.count, value > histogram.bounds[bucket] { bucket += 1 }
        counters.add(1, at: start + bucket)
        counters.add(UInt64(max(0, value)), at: start + histogram.bounds.count + 1)
    }

    /// Counts tokens.
    /// - Parameter model: a name that the upstream has answered for, since names of users may be any text.
    package func countTokens(model: String?, prompt: Int64?, completion: Int64?) {
        if (prompt ?? 0) <= 0 && (completion ?? 0) <= 0 { return }
        let slot = slot(of: model ?? "")
        count(registry.tokens, slot * 2, by: min(prompt ?? 0, 1 << 40))
        count(registry.tokens, slot * 2 + 1, by: min(completion ?? 0, 1 << 40))
    }

    /// The slot's number plus one; 0 for models without a slot.
    private func slot(of model: String) -> Int {
        models.withLock { models in
            if let slot = models[model] { return slot }
            guard models.count < CounterLayout.models, CounterLayout.isName(model) else { return 0 }
            let start = CounterLayout.modelsIndex + models.count * CounterLayout.countersPerName
            for (index, value) in CounterLayout.counters(of: model).enumerated() {
                counters.set(value, at: start + 1 + index)
            }
            counters.publish(UInt64(model.utf8.count), at: start)
            models[model] = models.count + 1
            return models.count
        }
    }

    // MARK: - Requests

    package func began(route: Int, at microseconds: Int64) {
        counters.add(1, at: CounterLayout.inFlightIndex)
        counters.add(1, at: registry.inFlight.offset + kind.rawValue)
        counters.set(UInt64(max(0, route)), at: CounterLayout.lastRouteIndex)
        counters.set(UInt64(max(0, microseconds)), at: CounterLayout.lastBeginIndex)
        counters.set(0, at: CounterLayout.lastTimeIndex)
    }

    package func ended(route: Int, status: Int?, after microseconds: Int64) {
        counters.subtract(1, at: CounterLayout.inFlightIndex)
        counters.subtract(1, at: registry.inFlight.offset + kind.rawValue)
        counters.add(1, at: CounterLayout.requestsIndex)
        if let status, status >= 500 { counters.add(1, at: CounterLayout.errorsIndex) }
        counters.set(UInt64(max(0, microseconds)), at: CounterLayout.lastTimeIndex)
        let series = registry.index(route: route, status: status)
        count(registry.requests, series)
        observe(registry.requestTime, series, microseconds)
    }

    package func set(_ state: State) {
        counters.set(UInt64(state.rawValue), at: CounterLayout.stateIndex)
    }

    /// Running requests, ended ones, and those that ended with a status from 500 on.
    package var inFlight: Int { Int(clamping: counters.value(at: CounterLayout.inFlightIndex)) }
    package var requests: Int { Int(clamping: counters.value(at: CounterLayout.requestsIndex)) }
    package var errors: Int { Int(clamping: counters.value(at: CounterLayout.errorsIndex)) }
}
