/// A count that only grows, with a series for each combination of its labels' values.
package struct Counter: Sendable {
    let offset: Int
    let series: Int
}

/// A number that ends with its process, with a series for each value of its label.
package struct Gauge: Sendable {
    let offset: Int
    let series: Int
}

/// Counts by size, for each combination of labels: a value a bucket, and one for the sum.
package struct Histogram: Sendable {
    let offset: Int
    let series: Int
    /// The upper bounds of the buckets but the last, ascending.
    let bounds: [Int64]

    /// Words of one series.
    var width: Int { bounds.count + 2 }
}

/// A label with all the values that it can have.
package struct Label: Sendable {
    let name: String
    let values: [String]

    package init(_ name: String, _ values: [String]) {
        self.name = name
        self.values = values
    }
}

/// A metric of one name with its labels and its place among the counters.
struct MetricFamily: Sendable {
    enum Kind: Sendable {
        case counter
        /// Summed over the processes.
        case gauge
        /// The smallest that any process has set; 0 is not set.
        case smallest
        /// 1 for down and 2 for up: down where one process says so, absent where no process has set it.
        case state
        case histogram([Int64])
    }

    let name: String
    let help: String
    let kind: Kind
    let labels: [Label]
    let offset: Int
    /// Units of a counter in one unit of the shown value.
    let scale: Double

    var series: Int { labels.reduce(1) { $0 * $1.values.count } }

    var width: Int {
        if case .histogram(let bounds) = kind { bounds.count + 2 } else { 1 }
    }

    /// Whether its counters are kept when their process has ended.
    var stays: Bool {
        switch kind {
        case .counter, .histogram: true
        case .gauge, .smallest, .state: false
        }
    }

    /// The labels of a series with their values.
    func values(of series: Int) -> [(name: String, value: String)] {
        var rest = series
        var pairs: [(name: String, value: String)] = []
        for label in labels.reversed() {
            pairs.append((label.name, label.values[rest % label.values.count]))
            rest /= label.values.count
        }
        return pairs.reversed()
    }
}
