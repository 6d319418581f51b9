/// The sum of the counters of several processes.
struct CounterSum: Sendable {
    let catalog: MetricRegistry
    private(set) var counters: [UInt64]
    private(set) var models: [String: (prompt: UInt64, completion: UInt64)] = [:]
    private(set) var otherModels: (prompt: UInt64, completion: UInt64) = (0, 0)
    /// The label of all models without counters of their own.
    static let other = "other"

    init(_ catalog: MetricRegistry) {
        self.catalog = catalog
        counters = [UInt64](repeating: 0, count: catalog.counterCount)
    }

    /// Whether a file has the registry's layout.
    static func reads(_ file: [UInt64], _ catalog: MetricRegistry) -> Bool {
        file.count == catalog.counterCount && file[CounterLayout.magicIndex] == CounterLayout.magic
            && file[CounterLayout.fingerprintIndex] == catalog.fingerprint
    }

    /// Adds a file that `reads` accepts; of a dead process only the counters that are kept.
    mutating func add(_ file: [UInt64], isAlive: Bool) {
        guard file.count == counters.count else { return }
        for family in catalog.families where isAlive || family.stays {
            let range = family.offset..<family.offset + family.series * family.width
            switch family.kind {
            case .counter, .gauge, .histogram:
                for index in range { counters[index] &+= file[index] }
            case .smallest, .state:
                for index in range where file[index] > 0 {
                    counters[index] =
                        counters[index] == 0 ? file[index] : min(counters[index], file[index])
                }
            }
        }
        addModels(of: file)
    }

    private mutating func addModels(of file: [UInt64]) {
        let start = catalog.tokens.offset
        otherModels.prompt &+= file[start]
        otherModels.completion &+= file[start + 1]
        for slot in 0..<CounterLayout.models {
            let (prompt, completion) = (file[start + 2 * slot + 2], file[start + 2 * slot + 3])
            guard prompt > 0 || completion > 0 else { continue }
            if let name = CounterLayout.name(in: slot, of: file) {
                models[name, default: (0, 0)].prompt &+= prompt
                models[name, default: (0, 0)].completion &+= completion
            } else {
                otherModels.prompt &+= prompt
                otherModels.completion &+= completion
            }
        }
    }

    /// The counters of a file that holds this sum.
    func file(lastMerged: UInt64) -> [UInt64] {
        var file = counters
        file[CounterLayout.magicIndex] = CounterLayout.magic
        file[CounterLayout.fingerprintIndex] = catalog.fingerprint
        file[CounterLayout.lastMergedIndex] = lastMerged
        let start = catalog.tokens.offset
        var other = otherModels
        // The models with the most tokens keep their names.
        let sorted = models.sorted { ($1.value.prompt, $0.key) < ($0.value.prompt, $1.key) }
        for (slot, (name, tokens)) in sorted.enumerated() {
            guard slot < CounterLayout.models else {
                other.prompt &+= tokens.prompt
                other.completion &+= tokens.completion
                continue
            }
            let place = CounterLayout.modelsIndex + slot * CounterLayout.countersPerName
            file[place] = UInt64(name.utf8.count)
            for (index, value) in CounterLayout.counters(of: name).enumerated() {
                file[place + 1 + index] = value
            }
            file[start + 2 * slot + 2] = tokens.prompt
            file[start + 2 * slot + 3] = tokens.completion
        }
        file[start] = other.prompt
        file[start + 1] = other.completion
        return file
    }
}
