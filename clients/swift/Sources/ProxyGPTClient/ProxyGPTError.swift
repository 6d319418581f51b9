#if canImport(FoundationEssentials)
    internal import FoundationEssentials
#else
    internal import Foundation
#endif

/// A failed call, a reply that failed, or a connection that broke.
public struct ProxyGPTError: Error, Sendable, Equatable {
    /// The HTTP status; 0 where the server gave no answer.
    public let status: Int
    /// The server's code; `connection`, `timeout`, `unexpected_answer` or `invalid_argument` where
    /// the server gave none.
    public let code: String
    /// The parameter that is wrong.
    public let param: String?
    /// One sentence for a person.
    public let message: String
    /// The id by which the operator finds the request in the server's log.
    public let requestID: String?
    /// The seconds after which the call may succeed.
    public let retryAfter: Double?
    /// The message of the model's server.
    public let upstreamMessage: String?

    init(
        status: Int = 0, code: String = "connection", param: String? = nil, _ message: String,
        requestID: String? = nil, retryAfter: Double? = nil, upstreamMessage: String? = nil
    ) {
        self.status = status
        self.code = code
        self.param = param
        self.message = message
        self.requestID = requestID
        self.retryAfter = retryAfter
        self.upstreamMessage = upstreamMessage
    }
}

extension ProxyGPTError: CustomStringConvertible {
    /// The message with its status, code and request id.
    public var description: String {
        var text = status == 0 ? "\(code): \(message)" : "\(status) \(code): \(message)"
        if let upstreamMessage { text += " (upstream: \(upstreamMessage))" }
        if let requestID { text += " (request \(requestID))" }
        return text
    }
}

extension ProxyGPTError {
    static func connection(_ reason: String) -> ProxyGPTError {
        ProxyGPTError("The connection to the server failed: \(reason).")
    }

    /// An answer that is not one of the API, for example the page of a proxy.
    static func unexpectedAnswer(
        status: Int, _ message: String, requestID: String?, retryAfter: Double? = nil
    ) -> ProxyGPTError {
        ProxyGPTError(
            status: status, code: "unexpected_answer", message, requestID: requestID,
            retryAfter: retryAfter)
    }

    /// The error of an answer whose status is not 200.
    init(status: Int, requestID: String?, retryAfter: String?, body: [UInt8], now: Date) {
        let seconds = retryAfter.flatMap { Self.seconds(retryAfter: $0, now: now) }
        guard let body = try? JSONDecoder().decode(ErrorBody.self, from: Data(body)) else {
            self = .unexpectedAnswer(
                status: status, "The server answered with status \(status).", requestID: requestID,
                retryAfter: seconds)
            return
        }
        self.init(
            status: status, code: body.error.code, param: body.error.param, body.error.message,
            requestID: requestID, retryAfter: seconds,
            upstreamMessage: body.error.upstreamMessage)
    }

    /// The error of a message whose reply has failed. The upstream's own status is not part of a
    /// message.
    init(_ failure: ReplyFailure?) {
        let code = failure?.code ?? "upstream_error"
        self.init(
            status: code == "upstream_timeout" ? 504 : 502, code: code,
            failure?.message ?? "The reply failed.", upstreamMessage: failure?.upstreamMessage)
    }

    private struct ErrorBody: Decodable {
        struct Content: Decodable {
            enum CodingKeys: String, CodingKey {
                case code, message, param
                case upstreamMessage = "upstream_message"
            }
            let code: String
            let message: String
            let param: String?
            let upstreamMessage: String?
        }
        let error: Content
    }

    /// The seconds of a Retry-After header, which is a number or a date.
    static func seconds(retryAfter text: String, now: Date) -> Double? {
        let text = text.trimmed
        if !text.isEmpty, text.utf8.allSatisfy({ (0x30...0x39).contains($0) }) {
            return Int32(text).map { Double($0) }
        }
        guard let moment = HTTPDate.parse(text) else { return nil }
        return max(0, moment.timeIntervalSince(now).rounded(.up))
    }
}

// MARK: - Another try

extension ProxyGPTError {
    /// The longest time that a server may ask to wait before a call is sent again, in seconds.
    private static let longestRetryAfter = 60.0

    /// Whether a read, or a prompt with its key, is sent again after this error.
    var mayPass: Bool {
        if let retryAfter, retryAfter > Self.longestRetryAfter { return false }
        return switch status {
        case 0: code == "connection"
        case 429: retryAfter != nil
        // Retry-After tells the front's own 502, while a process restarts, from that of a model's server.
        case 502, 503, 504:
            code == "unexpected_answer" || code == "unavailable" || retryAfter != nil
        default: false
        }
    }
}

/// The time before a call is sent again where the server names none: half a second, doubled with
/// each attempt, with jitter so that clients do not come back all at once.
func backoff(_ attempt: Int) -> Duration {
    let seconds = attempt < 4 ? 0.5 * Double(1 << attempt) : 8
    return .seconds(seconds * Double.random(in: 0.5...1))
}

extension String {
    /// The text without the white space around it.
    var trimmed: String {
        let isSpace = { (byte: UInt8) in byte == 0x20 || (0x09...0x0D).contains(byte) }
        let bytes = utf8.drop(while: isSpace)
        let count = bytes.reversed().drop(while: isSpace).count
        return String(decoding: bytes.prefix(count), as: UTF8.self)
    }
}

/// Dates of HTTP (RFC 9110, section 5.6.7) in the one form that servers send.
enum HTTPDate {
    private static let months = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ]

    /// Reads a date such as `Sun, 06 Nov 1994 08:49:37 GMT`.
    static func parse(_ text: String) -> Date? {
        let parts = text.split(separator: " ")
        guard parts.count == 6, parts[5] == "GMT", let day = Int(parts[1]),
            let month = months.firstIndex(of: String(parts[2])), let year = Int(parts[3])
        else { return nil }
        let time = parts[4].split(separator: ":").map { Int($0) }
        guard time.count == 3, let hour = time[0], let minute = time[1], let second = time[2],
            (1970...9999).contains(year), (1...31).contains(day), (0...23).contains(hour),
            (0...59).contains(minute), (0...60).contains(second)
        else { return nil }
        var components = DateComponents()
        components.calendar = Calendar(identifier: .gregorian)
        components.timeZone = TimeZone(secondsFromGMT: 0)
        (components.year, components.month, components.day) = (year, month + 1, day)
        (components.hour, components.minute, components.second) = (hour, minute, second)
        return components.date
    }
}
