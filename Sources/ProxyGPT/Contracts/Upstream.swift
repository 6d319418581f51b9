internal import Formats

/// One header line; names compare without regard to case. A value may have bytes that are not UTF-8
/// (RFC 9110, 5.5), which are passed on unchanged.
package struct Header: Sendable, Equatable {
    package let name: String
    /// The value as text, in which U+FFFD stands for what is no UTF-8.
    package let value: String
    /// The whole value, where it is no UTF-8.
    private let rawValue: [UInt8]?

    package init(_ name: String, _ value: String) {
        self.name = name
        self.value = value
        rawValue = nil
    }

    /// Whether the name is a token and the value has no control characters, so that neither ends its line
    /// (RFC 9110, sections 5.1 and 5.5).
    package var isWellFormed: Bool {
        !name.isEmpty && name.utf8.allSatisfy(isTokenByte)
            && value.utf8.allSatisfy { $0 >= 0x20 && $0 != 0x7F || $0 == 0x09 }
    }

    package init(_ name: String, bytes: [UInt8]) {
        self.name = name
        if let text = String(validating: bytes, as: UTF8.self) {
            value = text
            rawValue = nil
        } else {
            value = String(decoding: bytes, as: UTF8.self)
            rawValue = bytes
        }
    }

    /// Whether `value` has all bytes of the value.
    package var isText: Bool { rawValue == nil }

    /// The value's bytes.
    package var bytes: [UInt8] { rawValue ?? Array(value.utf8) }

    /// Appends the value's bytes.
    package func appendValue(to bytes: inout [UInt8]) {
        if let rawValue {
            bytes.append(contentsOf: rawValue)
        } else {
            bytes.append(contentsOf: value.utf8)
        }
    }
}

/// A request body that is read piece by piece, so that no part of the program holds the whole.
package protocol BodySource: Sendable {
    /// The length in bytes when it is known beforehand.
    var length: Int64? { get }

    /// Returns the next bytes, never an empty array, or nil at the end. Suspends until bytes
    /// arrive. Throws when the client has gone or the body is malformed.
    func next() async throws -> [UInt8]?
}

/// A call to the upstream, complete except for the key, which only the adapter knows.
package struct UpstreamCall: Sendable {
    package let method: String
    /// The whole address, made by `UpstreamAddress` from settings and path; its query may be no UTF-8.
    package let url: [UInt8]
    /// Headers that may go upstream; the adapter adds `Host`, the key and framing.
    package let headers: [Header]
    package let body: (any BodySource)?

    package init(method: String, url: [UInt8], headers: [Header], body: (any BodySource)?) {
        self.method = method
        self.url = url
        self.headers = headers
        self.body = body
    }
}

package struct UpstreamHead: Sendable {
    package let status: Int
    /// Headers as received, in order and with duplicates, without those of interim (1xx) answers.
    package let headers: [Header]

    package init(status: Int, headers: [Header]) {
        self.status = status
        self.headers = headers
    }

    /// The first value of a header, compared without regard to case.
    package func value(of name: String) -> String? {
        headers.first { equalIgnoringCase($0.name, name) }?.value
    }
}

/// The reason why a call to the upstream got no answer, or only part of one.
package enum UpstreamFailure: Error, Equatable, Sendable {
    /// No connection: name look-up, refusal, TLS. The text names the cause and no secret.
    case unreachable(String)
    case connectTimeout
    case firstByteTimeout
    case idleTimeout
    case callTimeout
    /// The connection ended, or broke the protocol, before the answer was whole.
    case cut(String)
    /// The caller's task was cancelled, or the caller called `cancel`.
    case cancelled
}

extension UpstreamFailure: CustomStringConvertible {
    /// A short text for the log.
    package var description: String {
        switch self {
        case .unreachable(let cause): "unreachable: \(cause)"
        case .connectTimeout: "no connection in time"
        case .firstByteTimeout: "no answer in time"
        case .idleTimeout: "silent for too long"
        case .callTimeout: "the whole call took too long"
        case .cut(let cause): "broken off: \(cause)"
        case .cancelled: "given up"
        }
    }
}

/// Makes calls to the upstream: OpenAI, Azure, or a compatible server.
package protocol Upstream: Sendable {
    /// Starts a call and returns when the final answer's head has arrived. The caller reads the
    /// body from the reply. Cancelling the calling task ends the call at once (`cancelled`).
    func start(_ call: UpstreamCall) async throws(UpstreamFailure) -> any UpstreamReply
}

/// An answer whose body is still arriving. Its owner either reads to the end or cancels; one task
/// at a time.
package protocol UpstreamReply: AnyObject, Sendable {
    nonisolated var head: UpstreamHead { get }

    /// Returns all bytes that have arrived since the last call, never an empty array. Suspends
    /// until bytes arrive; nil at the clean end. Between calls the adapter buffers a bounded amount
    /// and then stops reading from the upstream.
    func next() async throws(UpstreamFailure) -> [UInt8]?

    /// Ends the call at once and closes its connection; no effect after the end.
    func cancel() async
}
