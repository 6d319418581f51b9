internal import Formats

/// The failure of a reply, as its message stores it: a code of this product, a sentence, and the
/// upstream's message.
package struct ReplyFailure: Error, Sendable, Equatable {
    package let code: Failure.Code
    package let message: String
    package let upstream: UpstreamRefusal?
    /// The upstream's Retry-After, in seconds.
    package let retryAfter: Int?
    /// Whether the upstream refused the prompt for a reason that may pass, so that the same prompt
    /// may run again without being paid twice.
    package let mayBeRepeated: Bool

    package init(
        _ code: Failure.Code, _ message: String, upstream: UpstreamRefusal? = nil,
        retryAfter: Int? = nil, mayBeRepeated: Bool = false
    ) {
        self.mayBeRepeated = mayBeRepeated
        self.code = code
        self.message = message
        self.upstream = upstream == UpstreamRefusal() ? nil : upstream
        self.retryAfter = retryAfter
    }

    /// The failure as an answer.
    package var failure: Failure {
        Failure(code, message, retryAfter: retryAfter, upstream: upstream)
    }
}

extension ReplyFailure {
    /// The failure as one text, for the store: the code, a space, the sentence, and on a second
    /// line the upstream's message as JSON. Older releases show the second line as it is.
    package var text: String {
        let line = code.rawValue + " " + message
        var details: [(name: String, value: JSONValue)] = []
        if let status = upstream?.status { details.append(("status", .integer(status.rawValue))) }
        if let code = upstream?.code { details.append(("code", .string(code))) }
        if let message = upstream?.message { details.append(("message", .string(message))) }
        if let retryAfter { details.append(("retry_after", .integer(retryAfter))) }
        if mayBeRepeated { details.append(("may_be_repeated", .boolean(true))) }
        guard !details.isEmpty else { return line }
        return line + "\n" + String(decoding: JSONValue.object(details).encoded, as: UTF8.self)
    }

    /// Reads `text`; any other text becomes an `internal` failure with that text.
    package init(text: String) {
        let bytes = text.utf8
        let end = bytes.firstIndex(of: UInt8(ascii: "\n")) ?? bytes.endIndex
        let line = bytes[..<end]
        let space = line.firstIndex(of: UInt8(ascii: " ")) ?? line.endIndex
        guard let code = Failure.Code(rawValue: String(decoding: line[..<space], as: UTF8.self))
        else {
            self.init(.internal, text)
            return
        }
        let sentence = String(decoding: line[space...].dropFirst(), as: UTF8.self)
        guard let details = try? JSONValue(parsing: bytes[end...]), case .object = details else {
            self.init(code, sentence)
            return
        }
        let status = details["status"]?.integerValue.flatMap { Int(exactly: $0) }
            .flatMap { UpstreamRefusal.Status(rawValue: $0) }
        let upstream = UpstreamRefusal(
            status: status, code: details["code"]?.stringValue,
            message: details["message"]?.stringValue)
        let mayBeRepeated =
            if case .boolean(true)? = details["may_be_repeated"] { true } else { false }
        self.init(
            code, sentence, upstream: upstream,
            retryAfter: details["retry_after"]?.integerValue.flatMap { Int(exactly: $0) },
            mayBeRepeated: mayBeRepeated)
    }
}
