/// A moment: milliseconds since 1970-01-01T00:00:00Z, in the store as well.
package struct Timestamp: Hashable, Comparable, Sendable, CustomStringConvertible {
    package let milliseconds: Int64

    package init(milliseconds: Int64) {
        self.milliseconds = milliseconds
    }

    package static func < (left: Timestamp, right: Timestamp) -> Bool {
        left.milliseconds < right.milliseconds
    }

    /// Returns the moment `seconds` later (earlier when negative).
    package func adding(seconds: Int64) -> Timestamp {
        Timestamp(milliseconds: milliseconds &+ seconds &* 1000)
    }

    /// Milliseconds of a day.
    package static let dayLength: Int64 = 86_400_000

    /// The day that the moment belongs to, counted from 1970 in UTC.
    package var day: Int64 { Self.floorDivide(milliseconds, Self.dayLength) }

    /// The moment as RFC 3339 in UTC with milliseconds, `2026-01-31T23:59:59.123Z`. That has the years 0 to
    /// 9999: a moment outside, as a spoiled database may have, is shown as the nearest one inside.
    package var description: String {
        let shown = Timestamp(milliseconds: min(max(milliseconds, Self.earliest), Self.latest))
        var rest = shown.milliseconds % Self.dayLength
        if rest < 0 { rest += Self.dayLength }
        let (year, month, dayOfMonth) = Self.civil(daysSinceEpoch: shown.day)
        let fraction = rest % 1000
        rest /= 1000
        return "\(Self.pad(year, 4))-\(Self.pad(month, 2))-\(Self.pad(dayOfMonth, 2))"
            + "T\(Self.pad(rest / 3600, 2)):\(Self.pad(rest / 60 % 60, 2)):\(Self.pad(rest % 60, 2))"
            + ".\(Self.pad(fraction, 3))Z"
    }

    /// `0000-01-01T00:00:00.000Z` and `9999-12-31T23:59:59.999Z`.
    private static let earliest: Int64 = -62_167_219_200_000
    private static let latest: Int64 = 253_402_300_799_999

    private static func pad(_ value: Int64, _ width: Int) -> String {
        let digits = String(value)
        return String(repeating: "0", count: max(0, width - digits.utf8.count)) + digits
    }

    private static func floorDivide(_ value: Int64, _ divisor: Int64) -> Int64 {
        value >= 0 ? value / divisor : (value + 1) / divisor - 1
    }

    // Proleptic Gregorian calendar in eras of 400 years that begin on 1 March, so that the leap
    // day is the last of its year.
    private static func civil(daysSinceEpoch: Int64) -> (year: Int64, month: Int64, day: Int64) {
        let shifted = daysSinceEpoch + 719_468
        let era = floorDivide(shifted, 146_097)
        let dayOfEra = shifted - era * 146_097
        let yearOfEra =
            (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let monthFromMarch = (5 * dayOfYear + 2) / 153
        let day = dayOfYear - (153 * monthFromMarch + 2) / 5 + 1
        let month = monthFromMarch < 10 ? monthFromMarch + 3 : monthFromMarch - 9
        let year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
        return (year, month, day)
    }
}

/// The clock. A protocol, so that rules about time can be tested without waiting.
package protocol Clock: Sendable {
    /// Returns the time of day; it may jump when the clock is set.
    func now() -> Timestamp

    /// Returns microseconds of the monotonic clock, for durations.
    func monotonicMicroseconds() -> Int64
}
