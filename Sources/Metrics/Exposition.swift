// Prometheus' text format 0.0.4: https://prometheus.io/docs/instrumenting/exposition_formats/

/// Writes a sum in Prometheus' text format.
struct Exposition {
    package static let contentType = "text/plain; version=0.0.4; charset=utf-8"
    /// Families with more series than this leave out series that are 0.
    private static let smallFamily = 16

    private var text: String = ""

    static func text(_ sum: CounterSum, version: String) -> String {
        var exposition = Exposition()
        exposition.text.reserveCapacity(32 * 1024)
        for family in sum.catalog.families { exposition.write(family, sum.counters) }
        exposition.writeTokens(sum)
        exposition.head("proxy_gpt_build_info", "The version that answers.", "gauge")
        exposition.line("proxy_gpt_build_info", [("version", version)], 1)
        return exposition.text
    }

    private mutating func write(_ family: MetricFamily, _ counters: [UInt64]) {
        switch family.kind {
        case .counter: head(family.name, family.help, "counter")
        case .histogram: head(family.name, family.help, "histogram")
        case .gauge, .smallest, .state: head(family.name, family.help, "gauge")
        }
        for series in 0..<family.series {
            let start = family.offset + series * family.width
            let labels = family.values(of: series)
            switch family.kind {
            case .histogram(let bounds):
                let all = counters[start..<start + family.width]
                if family.series > 1, all.allSatisfy({ $0 == 0 }) { continue }
                write(family, labels, bounds, Array(all))
            case .counter, .gauge:
                if family.series > Self.smallFamily && counters[start] == 0 { continue }
                line(family.name, labels, Double(counters[start]) / family.scale)
            case .smallest:
                if counters[start] > 0 {
                    line(family.name, labels, Double(counters[start]) / family.scale)
                }
            case .state:
                if counters[start] > 0 { line(family.name, labels, Double(counters[start] - 1)) }
            }
        }
    }

    private mutating func write(
        _ family: MetricFamily, _ labels: [(name: String, value: String)], _ bounds: [Int64],
        _ counters: [UInt64]
    ) {
        var count: UInt64 = 0
        for (index, bound) in bounds.enumerated() {
            count &+= counters[index]
            let le = Self.number(Double(bound) / family.scale)
            line(family.name + "_bucket", labels + [("le", le)], Double(count))
        }
        count &+= counters[bounds.count]
        line(family.name + "_bucket", labels + [("le", "+Inf")], Double(count))
        line(family.name + "_sum", labels, Double(counters[bounds.count + 1]) / family.scale)
        line(family.name + "_count", labels, Double(count))
    }

    private mutating func writeTokens(_ sum: CounterSum) {
        let name = "proxy_gpt_tokens_total"
        head(name, "Tokens by model, as the upstream counts them.", "counter")
        var models = sum.models
        models[CounterSum.other, default: (0, 0)].prompt &+= sum.otherModels.prompt
        models[CounterSum.other, default: (0, 0)].completion &+= sum.otherModels.completion
        for (model, tokens) in models.sorted(by: { $0.key < $1.key }) {
            line(name, [("model", model), ("kind", "prompt")], Double(tokens.prompt))
            line(name, [("model", model), ("kind", "completion")], Double(tokens.completion))
        }
    }

    private mutating func head(_ name: String, _ help: String, _ type: String) {
        text += "# HELP \(name) \(help)\n# TYPE \(name) \(type)\n"
    }

    /// Writes a line. No label has a value that needs an escape.
    private mutating func line(
        _ name: String, _ labels: [(name: String, value: String)], _ value: Double
    ) {
        text += name
        if !labels.isEmpty {
            text += "{"
            text += labels.map { "\($0.name)=\"\($0.value)\"" }.joined(separator: ",")
            text += "}"
        }
        text += " \(Self.number(value))\n"
    }

    private static func number(_ value: Double) -> String {
        if value.rounded() == value, abs(value) < 1e15 { return String(Int64(value)) }
        return "\(value)"
    }
}
