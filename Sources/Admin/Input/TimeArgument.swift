internal import ArgumentParser
internal import Formats
internal import ProxyGPT

/// A moment as an operator writes it: `2026-01-31`, `2026-01-31T23:59:59Z` with or without fraction,
/// or how long ago, `90s`, `30m`, `2h`, `7d`.
enum TimeArgument: Equatable {
    case moment(Timestamp)
    case secondsAgo(Int64)

    func timestamp(now: Timestamp) -> Timestamp {
        switch self {
        case .moment(let moment): moment
        case .secondsAgo(let seconds): now.adding(seconds: -seconds)
        }
    }
}

extension TimeArgument: ExpressibleByArgument {
    /// The argument's text, for the default in a command's help.
    var defaultValueDescription: String {
        switch self {
        case .moment(let moment): "\(moment)"
        case .secondsAgo(let seconds):
            seconds % 86_400 == 0 ? "\(seconds / 86_400)d" : "\(seconds)s"
        }
    }

    init?(argument: String) {
        let units: [Character: Int64] = ["s": 1, "m": 60, "h": 3600, "d": 86_400]
        if let last = argument.last, let unit = units[last],
            let count = argument.dropLast().utf8.decimalNumber, (0...1_000_000_000).contains(count)
        {
            self = .secondsAgo(count * unit)
        } else if let moment = Self.moment(argument) {
            self = .moment(moment)
        } else {
            return nil
        }
    }

    private static func moment(_ text: String) -> Timestamp? {
        let pattern =
            #/(\d{4})-(\d{2})-(\d{2})(?:[Tt ](\d{2}):(\d{2})(?::(\d{2})(?:\.(\d{1,3})\d*)?)?[Zz]?)?/#
        guard let match = text.wholeMatch(of: pattern.asciiOnlyDigits())?.output,
            let year = Int64(match.1), let month = Int64(match.2), let day = Int64(match.3),
            (1...12).contains(month), day >= 1, day <= days(inMonth: month, of: year)
        else { return nil }
        func number(_ part: Substring?) -> Int64 { part.flatMap { Int64($0) } ?? 0 }
        let (hour, minute, second) = (number(match.4), number(match.5), number(match.6))
        guard hour < 24, minute < 60, second < 60 else { return nil }
        let fraction = match.7.map { $0 + String(repeating: "0", count: 3 - $0.count) } ?? "0"
        let seconds = (daysSinceEpoch(year, month, day) * 24 + hour) * 3600 + minute * 60 + second
        return Timestamp(milliseconds: seconds * 1000 + (Int64(fraction) ?? 0))
    }

    private static func days(inMonth month: Int64, of year: Int64) -> Int64 {
        let isLeap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
        switch month {
        case 2: return isLeap ? 29 : 28
        case 4, 6, 9, 11: return 30
        default: return 31
        }
    }

    // Days before the year and before the month, in years that begin with March.
    private static func daysSinceEpoch(_ year: Int64, _ month: Int64, _ day: Int64) -> Int64 {
        let shifted = month <= 2 ? year - 1 : year
        let monthFromMarch = (month + 9) % 12
        let ofYears = 365 * shifted + shifted / 4 - shifted / 100 + shifted / 400
        return ofYears + (153 * monthFromMarch + 2) / 5 + day - 1 - 719_468
    }
}

/// Statuses as an operator names them: `404`, or `5xx` for all that begin with a 5.
struct StatusArgument: Equatable {
    let range: ClosedRange<Int>
}

extension StatusArgument: ExpressibleByArgument {
    init?(argument: String) {
        guard argument.utf8.count == 3, let first = argument.first?.wholeNumberValue,
            (1...9).contains(first)
        else { return nil }
        if argument.dropFirst().lowercased() == "xx" {
            range = first * 100...first * 100 + 99
        } else if let status = argument.utf8.decimalNumber {
            range = Int(status)...Int(status)
        } else {
            return nil
        }
    }
}
