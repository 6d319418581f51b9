/// Durations in fixed memory: exact below 256 µs, within 0.4 percent above.
struct Histogram: Sendable {
    /// 256 buckets for each power of two, the first 256 values one each.
    private var buckets = [UInt64](repeating: 0, count: 256 * 40)
    private(set) var count: UInt64 = 0
    private(set) var maximum: UInt64 = 0

    mutating func record(nanoseconds: Int64) {
        let value = UInt64(max(0, nanoseconds)) / 1000
        let index = min(Histogram.bucket(of: value), buckets.count - 1)
        buckets[index] += 1
        count += 1
        maximum = max(maximum, value)
    }

    /// The value that this share of all does not exceed, in microseconds.
    func quantile(_ share: Double) -> UInt64 {
        let wanted = UInt64((Double(count) * share).rounded(.up))
        var seen: UInt64 = 0
        for (index, count) in buckets.enumerated() where count > 0 {
            seen += count
            if seen >= wanted { return min(Histogram.largest(in: index), maximum) }
        }
        return maximum
    }

    private static func bucket(of value: UInt64) -> Int {
        guard value >= 256 else { return Int(value) }
        let shift = 64 - value.leadingZeroBitCount - 9
        return 256 * (shift + 1) + Int(value >> UInt64(shift)) - 256
    }

    private static func largest(in bucket: Int) -> UInt64 {
        guard bucket >= 256 else { return UInt64(bucket) }
        let shift = UInt64(bucket / 256 - 1)
        return UInt64(bucket % 256 + 257) << shift - 1
    }
}
