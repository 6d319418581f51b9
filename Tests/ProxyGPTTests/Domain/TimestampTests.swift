import ProxyGPT
import Testing

@Suite struct TimestampTests {
    @Test(
        "A moment is written as RFC 3339 in UTC with milliseconds",
        arguments: [
            (0, "1970-01-01T00:00:00.000Z"),
            (1, "1970-01-01T00:00:00.001Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_800_000, "2000-03-01T00:00:00.000Z"),
            (1_709_164_800_000, "2024-02-29T00:00:00.000Z"),
            (1_735_689_599_123, "2024-12-31T23:59:59.123Z"),
            (1_769_903_999_123, "2026-01-31T23:59:59.123Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (4_107_456_000_000, "2100-02-28T00:00:00.000Z"),
            (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
        ])
    func writesKnownDates(milliseconds: Int64, text: String) {
        #expect(Timestamp(milliseconds: milliseconds).description == text)
    }

    @Test(
        "Moments before 1970 count backwards from it",
        arguments: [
            (-1, "1969-12-31T23:59:59.999Z"),
            (-86_400_000, "1969-12-31T00:00:00.000Z"),
            (-86_400_001, "1969-12-30T23:59:59.999Z"),
            (-2_203_891_200_000, "1900-03-01T00:00:00.000Z"),
            (-2_203_977_600_000, "1900-02-28T00:00:00.000Z"),
            (-62_135_596_800_000, "0001-01-01T00:00:00.000Z"),
        ])
    func writesDatesBeforeTheEpoch(milliseconds: Int64, text: String) {
        #expect(Timestamp(milliseconds: milliseconds).description == text)
    }

    @Test("Every day of four centuries follows the one before")
    func countsDays() {
        let lengths = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
        var (year, month, day) = (1900, 1, 1)
        for index in 0..<146_097 {
            let moment = Timestamp(milliseconds: -2_208_988_800_000 + Int64(index) * 86_400_000)
            let expected = [year, month, day].map { $0 < 10 ? "0\($0)" : "\($0)" }
            guard moment.description.prefix(10) == expected.joined(separator: "-") else {
                Issue.record("day \(index) is written as \(moment)")
                return
            }
            let isLeap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
            day += 1
            if day > (month == 2 && isLeap ? 29 : lengths[month - 1]) {
                (month, day) = (month + 1, 1)
            }
            if month > 12 { (year, month) = (year + 1, 1) }
        }
    }

    @Test(
        "A moment beyond RFC 3339 is written as the nearest one within",
        arguments: [
            (Int64.max, "9999-12-31T23:59:59.999Z"),
            (253_402_300_800_000, "9999-12-31T23:59:59.999Z"),
            (-62_167_219_200_000, "0000-01-01T00:00:00.000Z"),
            (-62_167_219_200_001, "0000-01-01T00:00:00.000Z"), (.min, "0000-01-01T00:00:00.000Z"),
        ])
    func writesTheExtremes(milliseconds: Int64, text: String) {
        #expect(Timestamp(milliseconds: milliseconds).description == text)
    }

    @Test("Seconds can be added and taken away")
    func addsSeconds() {
        let moment = Timestamp(milliseconds: 1500)
        #expect(moment.adding(seconds: 2) == Timestamp(milliseconds: 3500))
        #expect(moment.adding(seconds: -2) == Timestamp(milliseconds: -500))
        #expect(moment.adding(seconds: -2) < moment)
    }
}
