import Formats
import Glibc
import Synchronization

/// The header lines that every answer carries, as OpenAI and the network before it send them.
///
/// Every answer has them, so that a test sees which of them a proxy passes on.
final class StandardHeaders: Sendable {
    private struct Block {
        var second = -1
        var bytes: [UInt8] = []
    }

    private let block = Mutex(Block())
    /// Makes request ids of two runs differ.
    private let seed = UInt64.random(in: .min ... .max)

    private static let lines = [
        "Server: cloudflare",
        "openai-organization: mock-organization",
        "openai-project: proj_mock",
        "openai-processing-ms: 4",
        "openai-version: 2020-10-01",
        "x-ratelimit-limit-requests: 10000",
        "x-ratelimit-limit-tokens: 200000",
        "x-ratelimit-remaining-requests: 9999",
        "x-ratelimit-remaining-tokens: 199968",
        "x-ratelimit-reset-requests: 8.64s",
        "x-ratelimit-reset-tokens: 9ms",
        "Access-Control-Expose-Headers: X-Request-ID",
        "Set-Cookie: __cf_bm=mock; path=/; domain=.api.openai.com; HttpOnly; Secure; SameSite=None",
        "Set-Cookie: _cfuvid=mock; path=/; domain=.api.openai.com; HttpOnly; Secure",
        "Strict-Transport-Security: max-age=31536000; includeSubDomains; preload",
        "X-Content-Type-Options: nosniff",
        "Alt-Svc: h3=\":443\"; ma=86400",
    ]

    /// The lines as bytes, with the date of this second.
    func bytes(at second: Int) -> [UInt8] {
        block.withLock { block in
            if block.second != second {
                let lines = ["Date: \(httpDate(second))"] + StandardHeaders.lines
                block = Block(second: second, bytes: lines.flatMap { Array(($0 + "\r\n").utf8) })
            }
            return block.bytes
        }
    }

    func requestID(ofCall number: Int) -> String {
        "req_" + seed.hexadecimal + UInt64(number).hexadecimal
    }
}

/// A moment of the UNIX clock as HTTP writes it (RFC 9110, 5.6.7).
func httpDate(_ second: Int) -> String {
    var moment = time_t(second)
    var parts = tm()
    gmtime_r(&moment, &parts)
    let days = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"]
    let months = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ]
    func two(_ number: Int32) -> String { number < 10 ? "0\(number)" : "\(number)" }
    return "\(days[Int(parts.tm_wday) % 7]), \(two(parts.tm_mday)) "
        + "\(months[Int(parts.tm_mon) % 12]) \(1900 + Int(parts.tm_year)) "
        + "\(two(parts.tm_hour)):\(two(parts.tm_min)):\(two(parts.tm_sec)) GMT"
}

/// The UNIX clock in milliseconds.
func unixMilliseconds() -> Double {
    var now = timespec()
    clock_gettime(CLOCK_REALTIME, &now)
    return Double(now.tv_sec) * 1000 + Double(now.tv_nsec / 1000) / 1000
}

func unixMicroseconds() -> Int64 {
    var now = timespec()
    clock_gettime(CLOCK_REALTIME, &now)
    return Int64(now.tv_sec) * 1_000_000 + Int64(now.tv_nsec) / 1000
}
