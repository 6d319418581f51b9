// What is said of a prompt that the upstream did not answer: our own sentence, and beside it the
// upstream's words.

internal import Formats
package import ProxyGPT

extension ReplyFailure {
    /// The failure for an answer whose status is no success.
    /// - Parameter body: the beginning of the answer's body.
    init(_ head: UpstreamHead, body: [UInt8], _ words: UpstreamText, now: Timestamp) {
        let mayBeRepeated = Self.statusesOfOthersFault.contains(head.status)
        let error = ReplyReader.error(in: body)
        // 403 is what a key gets that may not use this model: those words are worth showing, while those
        // beside 401 are about the operator's key.
        if head.refusesKey || head.status == 403 {
            self.init(
                Failure.keyRefused.code, Failure.keyRefused.message,
                upstream: UpstreamRefusal(
                    message: head.refusesKey ? nil : words.shown(error?.message)),
                mayBeRepeated: mayBeRepeated)
            return
        }
        let status = UpstreamRefusal.Status(rawValue: head.status)
        self.init(
            .upstreamError,
            status?.sentence ?? "The upstream answered with status \(head.status).",
            upstream: UpstreamRefusal(
                status: status, code: words.code(error?.code), message: words.shown(error?.message)),
            retryAfter: status == nil ? nil : head.retryAfter(now: now),
            mayBeRepeated: mayBeRepeated)
    }

    /// The failure for an answer that is no reply, or not the whole of one.
    init(_ problem: ReplyReader.Problem, _ words: UpstreamText) {
        switch problem {
        case .reported(let error):
            self.init(
                .upstreamError, "The upstream reported an error.",
                upstream: UpstreamRefusal(
                    code: words.code(error.code), message: words.shown(error.message)))
        case .malformed:
            self.init(.upstreamError, "The upstream's answer is not a model's reply.")
        case .incomplete:
            self.init(.upstreamError, "The upstream broke off its answer.")
        case .tooLong:
            self.init(
                .upstreamError, "The model's reply is too long: 4 MiB of text are kept at most.")
        case .empty(_, let refusal?):
            self.init(
                .upstreamError, "The model refused to answer.",
                upstream: UpstreamRefusal(message: words.shown(refusal)))
        case .empty(let finishReason, nil):
            self.init(
                .upstreamError, Self.sentence(finishReason: finishReason),
                upstream: UpstreamRefusal(
                    message: words.shown(finishReason.map { "finish_reason: \($0)" })))
        }
    }

    /// Statuses of an upstream that did not run the prompt for a reason that is not the prompt: the key, the
    /// account, the load (529 is Anthropic's word for that). Others may come when it was run and paid for.
    private static let statusesOfOthersFault: Set<Int> = [401, 402, 403, 408, 425, 429, 503, 529]

    private static func sentence(finishReason: String?) -> String {
        switch finishReason {
        case "content_filter"?: "The upstream's content filter withheld the reply."
        case "length"?: "The model used up its tokens before the first word of a reply."
        default: "The model's reply has no words."
        }
    }
}

extension UpstreamRefusal.Status {
    fileprivate var sentence: String {
        switch self {
        case .badRequest: "The upstream did not accept the prompt."
        case .notFound: "The upstream does not know what was asked for; it may not have the model."
        case .timeout: "The upstream gave up waiting for the prompt. Try again."
        case .tooLarge: "The prompt with its context is too large for the upstream."
        case .unprocessable: "The upstream cannot process the prompt."
        case .rateLimited: "The upstream takes no more prompts just now. Try again later."
        }
    }
}

extension UpstreamHead {
    /// The seconds after which another try makes sense, as the upstream says, rounded up.
    package func retryAfter(now: Timestamp) -> Int? {
        if let text = value(of: "Retry-After") {
            if let seconds = Self.roundedUp(text, unit: 1) { return seconds }
            if let moment = Timestamp(httpDate: text) {
                let left = max(0, moment.milliseconds &- now.milliseconds)
                return Int((left + 999) / 1000)
            }
        }
        return value(of: "retry-after-ms").flatMap { Self.roundedUp($0, unit: 1000) }
    }

    /// Reads a decimal number of `unit` parts of a second; nil for anything else.
    private static func roundedUp(_ text: String, unit: Int) -> Int? {
        let parts = text.utf8.split(
            separator: UInt8(ascii: "."), maxSplits: 1, omittingEmptySubsequences: false)
        guard (1...9).contains(parts[0].count), parts.allSatisfy({ $0.count <= 20 }),
            parts.allSatisfy({ part in part.allSatisfy { (0x30...0x39).contains($0) } }),
            let whole = parts[0].decimalNumber.map({ Int($0) })
        else { return nil }
        let hasFraction = parts.count == 2 && parts[1].contains { $0 != 0x30 }
        return (whole + (hasFraction ? 1 : 0) + unit - 1) / unit
    }
}
