import Formats

/// `POST /v1/chat/completions` and `POST /v1/completions`, plain and streamed.
enum ReplyAnswers {
    /// The form of an answer.
    enum Shape {
        case chat, completion
    }

    static func answer(
        _ shape: Shape, to call: Call, _ behaviour: inout Behaviour
    ) throws(Refusal) -> Answer {
        let request = try ModelRequest(call, &behaviour)
        let (prompt, promptTokens) =
            switch shape {
            case .chat: try messages(request.json["messages"])
            case .completion: try prompt(request.json["prompt"])
            }
        let reply = Reply(
            shape: shape, id: call.fingerprint, model: request.model,
            words: ReplyWords(echoing: prompt, behaviour), promptTokens: promptTokens,
            isAzure: call.route.face.isAzure, hasEmptyChoices: behaviour.hasEmptyChoices)
        guard request.json["stream"] == true else { return Answer(reply.whole) }
        let includesUsage = request.json["stream_options"]?["include_usage"] == true
        return Answer(
            contentType: "text/event-stream; charset=utf-8",
            .pieces(
                ReplyEvents(reply, includesUsage: includesUsage, behaviour), byteCount: nil))
    }

    /// The last user message and the tokens of all.
    private static func messages(_ json: JSONValue?) throws(Refusal) -> (String, Int) {
        guard let json else {
            throw Refusal(
                status: 400, message: "Missing required parameter: 'messages'.",
                parameter: "messages", code: "missing_required_parameter")
        }
        guard let messages = json.elements else {
            throw Refusal(
                status: 400, message: "Invalid type for 'messages': expected an array of objects.",
                parameter: "messages", code: "invalid_type")
        }
        guard !messages.isEmpty else {
            throw Refusal(
                status: 400,
                message: "Invalid 'messages': empty array. Expected an array with "
                    + "minimum length 1, but got an empty array instead.",
                parameter: "messages", code: "empty_array")
        }
        var last = ""
        var tokens = 0
        for message in messages {
            let text = text(of: message["content"])
            tokens += 4 + tokenCount(text)
            if message["role"] == "user" { last = text }
        }
        return (last, tokens)
    }

    /// A text, or the texts of a list of parts.
    static func text(of content: JSONValue?) -> String {
        if let text = content?.stringValue { return text }
        return (content?.elements ?? []).compactMap { $0["text"]?.stringValue }.joined()
    }

    private static func prompt(_ json: JSONValue?) throws(Refusal) -> (String, Int) {
        let texts = json?.elements?.compactMap(\.stringValue)
        let text = json?.stringValue ?? texts?.joined(separator: " ")
        guard let text else {
            throw Refusal(
                status: 400, message: "Missing required parameter: 'prompt'.",
                parameter: "prompt", code: "missing_required_parameter")
        }
        return (text, tokenCount(text))
    }
}

/// The words of a reply: the prompt's own, then filler up to the wanted number of pieces.
struct ReplyWords {
    private let own: [Substring]
    private let pieceCount: Int
    private let fillerBytes: Int
    private let isEndless: Bool
    private let hasMarks: Bool

    private static let filler = [
        "lorem", "ipsum", "dolor", "sit", "amet", "consectetur", "adipiscing", "elit",
    ]

    init(echoing prompt: String, _ behaviour: Behaviour) {
        own = "echo: \(prompt)".split(separator: " ", omittingEmptySubsequences: false)
        pieceCount = behaviour.pieceCount
        fillerBytes = behaviour.bytes ?? 0
        isEndless = behaviour.isEndless
        hasMarks = behaviour.hasMarks
    }

    /// Tokens of the whole text, one a word.
    var count: Int { pieceCount == 0 ? 0 : max(own.count, pieceCount) }

    /// Piece number `index`, or nil beyond the last. All pieces joined are `text`.
    func piece(_ index: Int) -> String? {
        guard index < pieceCount || isEndless else { return nil }
        var piece = word(index)
        let isLast = index == pieceCount - 1
        if isLast, own.count > pieceCount {
            for more in pieceCount..<own.count { piece += word(more) }
        }
        let share = fillerBytes / max(1, pieceCount)
        let count = isLast ? fillerBytes - share * (pieceCount - 1) : share
        return count > 0 ? piece + String(repeating: "x", count: count) : piece
    }

    var text: String {
        var text = ""
        for index in 0..<pieceCount { text += piece(index) ?? "" }
        return text
    }

    private func word(_ index: Int) -> String {
        let word =
            hasMarks
            ? Mark.blank : index < own.count ? String(own[index]) : ReplyWords.filler[index % 8]
        return index == 0 ? word : " " + word
    }
}
