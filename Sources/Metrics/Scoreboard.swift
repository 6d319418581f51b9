internal import Glibc
internal import Synchronization

/// The figures of this process, as it counts them. Every method may be called on any thread and takes
/// some nanoseconds.
package final class Scoreboard: Sendable {
    package enum State: Int, Sendable {
        case starting, ready, draining
    }

    package let catalog: Catalog
    package let kind: ProcessKind
    let words: Words
    /// Slots of models by name.
    private let models = Mutex<[String: Int]>([:])

    init(_ catalog: Catalog, _ kind: ProcessKind, _ words: Words, startedAt: Int64) {
        self.catalog = catalog
        self.kind = kind
        self.words = words
        words.set(UInt64(kind.rawValue), at: Board.kindWord)
        words.set(UInt64(getpid()), at: Board.processWord)
        words.set(UInt64(max(0, startedAt)), at: Board.startWord)
        words.set(catalog.fingerprint, at: Board.fingerprintWord)
        words.publish(Board.magic, at: Board.magicWord)
        set(catalog.processes, kind.rawValue, 1)
        set(catalog.processStart, kind.rawValue, startedAt)
    }

    /// A board that nobody else sees.
    package convenience init(_ catalog: Catalog, _ kind: ProcessKind = .worker) {
        self.init(catalog, kind, Words(count: catalog.wordCount), startedAt: 0)
    }

    // MARK: - Counting

    package func count(_ counter: Counter, _ series: Int = 0, by number: Int64 = 1) {
        guard number > 0, series >= 0, series < counter.series else { return }
        words.add(UInt64(number), at: counter.offset + series)
    }

    package func set(_ gauge: Gauge, _ series: Int = 0, _ number: Int64) {
        guard series >= 0, series < gauge.series else { return }
        words.set(UInt64(max(0, number)), at: gauge.offset + series)
    }

    /// Says how a counter stands that somebody else counts.
    package func set(_ counter: Counter, _ series: Int = 0, to number: Int64) {
        guard series >= 0, series < counter.series else { return }
        words.set(UInt64(max(0, number)), at: counter.offset + series)
    }

    /// Says of something whether it is there.
    package func set(_ state: Gauge, isUp: Bool) {
        words.set(isUp ? 2 : 1, at: state.offset)
    }

    package func observe(_ histogram: Histogram, _ series: Int = 0, _ value: Int64) {
        guard series >= 0, series < histogram.series else { return }
        let start = histogram.offset + series * histogram.width
        var bucket = 0
        while bucket < histogram.bounds.count, value > histogram.bounds[bucket] { bucket += 1 }
        words.add(1, at: start + bucket)
        words.add(UInt64(max(0, value)), at: start + histogram.bounds.count + 1)
    }

    /// Counts tokens. Only the names of models that an upstream has answered for belong here.
    package func countTokens(model: String?, prompt: Int64?, completion: Int64?) {
        if (prompt ?? 0) <= 0 && (completion ?? 0) <= 0 { return }
        let slot = slot(of: model ?? "")
        count(catalog.tokens, slot * 2, by: min(prompt ?? 0, 1 << 40))
        count(catalog.tokens, slot * 2 + 1, by: min(completion ?? 0, 1 << 40))
    }

    /// 0 for all that are not told apart, else the slot's number and one.
    private func slot(of model: String) -> Int {
        models.withLock { models in
            if let slot = models[model] { return slot }
            guard models.count < Board.models, Board.isName(model) else { return 0 }
            let start = Board.modelsWord + models.count * Board.wordsOfName
            for (index, word) in Board.words(of: model).enumerated() {
                words.set(word, at: start + 1 + index)
            }
            words.publish(UInt64(model.utf8.count), at: start)
            models[model] = models.count + 1
            return models.count
        }
    }

    // MARK: - Requests

    package func began(route: Int, at microseconds: Int64) {
        words.add(1, at: Board.inFlightWord)
        words.add(1, at: catalog.inFlight.offset + kind.rawValue)
        words.set(UInt64(max(0, route)), at: Board.lastRouteWord)
        words.set(UInt64(max(0, microseconds)), at: Board.lastBeginWord)
        words.set(0, at: Board.lastTimeWord)
    }

    package func ended(route: Int, status: Int?, after microseconds: Int64) {
        words.subtract(1, at: Board.inFlightWord)
        words.subtract(1, at: catalog.inFlight.offset + kind.rawValue)
        words.add(1, at: Board.requestsWord)
        if let status, status >= 500 { words.add(1, at: Board.errorsWord) }
        words.set(UInt64(max(0, microseconds)), at: Board.lastTimeWord)
        let series = catalog.index(route: route, status: status)
        count(catalog.requests, series)
        observe(catalog.requestTime, series, microseconds)
    }

    package func set(_ state: State) {
        words.set(UInt64(state.rawValue), at: Board.stateWord)
    }

    /// Requests under way, those that ended, and those of them that ended with a server's error.
    package var inFlight: Int { Int(clamping: words.value(at: Board.inFlightWord)) }
    package var requests: Int { Int(clamping: words.value(at: Board.requestsWord)) }
    package var errors: Int { Int(clamping: words.value(at: Board.errorsWord)) }
}
