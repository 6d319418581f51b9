// The values of one event, line or whole answer of an upstream that belong to a reply.
//
// `ReplyEventParser` calls it with names and values in their order. Knows the forms: OpenAI's chat
// completions, streamed and whole, its older completions, and Ollama's.

/// The upstream's error, in its own words.
package struct UpstreamError: Sendable, Equatable {
    /// Nil where the upstream gave no reason.
    package let message: String?
    package let code: String?

    package init(message: String?, code: String? = nil) {
        self.message = message
        self.code = code
    }
}

/// Gathers the values of one JSON object while it is read.
struct ReplyEvent: Sendable {
    /// One of the choices of an event.
    struct Choice: Sendable {
        fileprivate(set) var index: Int64?
        fileprivate(set) var finishReason = ReplyText(limit: 64)
        fileprivate(set) var refusal = ReplyText(limit: ReplyEvent.textLimit)
        fileprivate(set) var hasToolCalls = false
        /// The next text of the reply.
        fileprivate(set) var delta: ReplyText?
        /// The whole message.
        fileprivate(set) var message: ReplyText?
        /// The text of an older completion.
        fileprivate(set) var text: ReplyText?
    }

    /// The most bytes of an error's message or of a refusal.
    static let textLimit = 4096

    private enum Role: UInt8 {
        case root, choices, choice, delta, message, parts, part, toolCalls, error, details, detail
        case usage, other
    }

    /// The names of interest.
    private enum Member: String, CaseIterable {
        case code, done, type, text, msg, delta, error, index, usage, object, detail, choices
        case message, content, refusal, response, toolCalls = "tool_calls"
        case evalCount = "eval_count", doneReason = "done_reason", inputTokens = "input_tokens"
        case finishReason = "finish_reason", functionCall = "function_call"
        case promptTokens = "prompt_tokens", outputTokens = "output_tokens"
        case completionTokens = "completion_tokens", promptEvalCount = "prompt_eval_count"

        /// The members by the length of their names.
        static let byLength: [[(name: [UInt8], member: Member)]] = (0...17).map { length in
            allCases.filter { $0.rawValue.utf8.count == length }
                .map { (Array($0.rawValue.utf8), $0) }
        }
    }

    /// The destination of a string's bytes.
    private enum Target {
        case content, partText, partType, refusal, finishReason
        case error, errorCode, errorType, remark, object
    }

    private let limit: Int
    private let pending: [UInt8]
    private var roles: [Role] = [.root]
    private var member: Member?
    private var target: Target?
    private var current = Choice()
    private var part: ReplyText?
    private var partType = ReplyText(limit: 32)
    private var position: Int64 = 0
    private var text = ReplyText(limit: 0)
    private var errorMessage: String?
    private var errorCode: String?
    private var errorType: String?
    private var object: String?
    private var promptTokens: Int64?
    private var completionTokens: Int64?

    /// The choice of index 0, or the top level in Ollama's form.
    private(set) var choice: Choice?
    /// Whether the object has `choices`, or is a choice itself as Ollama's are.
    private(set) var isReply = false
    private(set) var hasError = false
    /// The value of `done`, where the object has it.
    private(set) var isDone: Bool?
    /// The `message` or `detail` at the top level: an error's text where the event is an error.
    private(set) var remark: String?

    /// - Parameters:
    ///   - limit: the most bytes that the reply may grow by.
    ///   - pending: the incomplete character at the end of the reply so far.
    init(limit: Int, pending: [UInt8]) {
        self.limit = limit
        self.pending = pending
    }

    var usage: Usage? {
        promptTokens == nil && completionTokens == nil
            ? nil : Usage(promptTokens: promptTokens, completionTokens: completionTokens)
    }

    /// The error in the object.
    /// - Parameter isError: whether the object is known to be an error.
    func error(isError: Bool) -> UpstreamError? {
        let isCalledError = !isReply && (object == "error" || errorType == "error")
        guard hasError || isError || isCalledError else { return nil }
        let type = errorType == "error" ? nil : errorType
        return UpstreamError(message: errorMessage ?? remark ?? type, code: errorCode)
    }

    // MARK: - What the parser reads

    mutating func take(name: [UInt8]) {
        member = nil
        guard roles.last != .other, name.count < Member.byLength.count else { return }
        for candidate in Member.byLength[name.count] where candidate.name == name {
            member = candidate.member
        }
    }

    mutating func open(isObject: Bool) {
        let role = role(isObject: isObject)
        switch (roles.last, member) {
        case (.toolCalls, _): current.hasToolCalls = true
        case (.delta, .functionCall), (.message, .functionCall):
            current.hasToolCalls = current.hasToolCalls || isObject
        default: break
        }
        roles.append(role)
        switch role {
        case .choices: isReply = true
        case .choice: current = Choice()
        case .part:
            part = ReplyText(limit: limit, pending: content?.pending ?? pending)
            partType = ReplyText(limit: 32)
        case .error: hasError = true
        case .message where roles.count == 2: isReply = true
        default: break
        }
    }

    mutating func close() {
        switch roles.popLast() {
        case .choice:
            if choice == nil, current.index ?? position == 0 { choice = current }
            current = Choice()
            position += 1
        case .part:
            if let part, ["", "text", "output_text"].contains(partType.text) {
                if content == nil { content = part } else { content?.append(part) }
            }
            part = nil
        case .root:
            if choice == nil, isReply, current.message != nil { choice = current }
        default: break
        }
    }

    /// Takes a number or a literal.
    mutating func take(word: [UInt8]) {
        let number = Int64(String(decoding: word, as: UTF8.self))
        switch (roles.last, member) {
        case (.root, .error):
            if !word.elementsEqual("null".utf8) && !word.elementsEqual("false".utf8) {
                hasError = true
            }
        case (.root, .done): isDone = word.elementsEqual("true".utf8)
        case (.choice, .index): current.index = number
        case (.error, .code), (.root, .code):
            if number != nil { errorCode = String(decoding: word, as: UTF8.self) }
        case (.usage, .promptTokens), (.usage, .inputTokens), (.root, .promptEvalCount):
            promptTokens = number ?? promptTokens
        case (.usage, .completionTokens), (.usage, .outputTokens), (.root, .evalCount):
            completionTokens = number ?? completionTokens
        default: break
        }
    }

    /// Begins a string; returns whether its text is used.
    mutating func beginString() -> Bool {
        target = stringTarget
        switch target {
        case nil: return false
        case .content:
            if roles.count == 1 { isReply = true }
            if content == nil { content = ReplyText(limit: limit, pending: pending) }
        case .error, .remark: text = ReplyText(limit: Self.textLimit)
        case .errorCode, .errorType, .object: text = ReplyText(limit: 64)
        default: break
        }
        return true
    }

    mutating func take(text bytes: [UInt8]) {
        switch target {
        case .content: content?.append(bytes)
        case .partText: part?.append(bytes)
        case .partType: partType.append(bytes)
        case .refusal: current.refusal.append(bytes)
        case .finishReason: current.finishReason.append(bytes)
        default: text.append(bytes)
        }
    }

    mutating func endString() {
        text.finish()
        switch target {
        case .error where !text.text.isEmpty:
            hasError = true
            errorMessage = text.text
        case .remark: remark = text.text.isEmpty ? nil : text.text
        case .errorCode: errorCode = text.text.isEmpty ? nil : text.text
        case .errorType: errorType = text.text.isEmpty ? nil : text.text
        case .object: object = text.text
        default: break
        }
    }

    // MARK: - What that means

    /// The text that strings are appended to, by their place.
    private var content: ReplyText? {
        get {
            switch contentRole {
            case .delta: current.delta
            case .choice: current.text
            default: current.message
            }
        }
        _modify {
            switch contentRole {
            case .delta: yield &current.delta
            case .choice: yield &current.text
            default: yield &current.message
            }
        }
    }

    private var contentRole: Role? {
        roles.last { $0 != .parts && $0 != .part }
    }

    private func role(isObject: Bool) -> Role {
        switch (roles.last, member, isObject) {
        case (.root, .choices, false): .choices
        case (.root, .message, true), (.choice, .message, true): .message
        case (.root, .error, true), (.choice, .error, true): .error
        case (.root, .detail, false): .details
        case (.root, .usage, true), (.choice, .usage, true): .usage
        case (.choices, _, true): .choice
        case (.choice, .delta, true): .delta
        case (.delta, .content, false), (.message, .content, false): .parts
        case (.delta, .content, true), (.message, .content, true), (.parts, _, true): .part
        case (.delta, .toolCalls, false), (.message, .toolCalls, false): .toolCalls
        case (.details, _, true): .detail
        default: .other
        }
    }

    private var stringTarget: Target? {
        switch (roles.last, member) {
        case (.root, .response), (.choice, .text), (.delta, .content), (.message, .content),
            (.parts, _):
            .content
        case (.part, .text): .partText
        case (.part, .type): .partType
        case (.delta, .refusal), (.message, .refusal), (.part, .refusal): .refusal
        case (.choice, .finishReason), (.root, .doneReason): .finishReason
        case (.root, .error), (.error, .message): .error
        case (.error, .code), (.root, .code): .errorCode
        case (.error, .type), (.root, .type): .errorType
        case (.root, .message), (.root, .detail), (.detail, .msg): .remark
        case (.root, .object): .object
        default: nil
        }
    }
}
