import Formats

/// A reply before it is written, as one object or as events.
struct Reply {
    let shape: ReplyAnswers.Shape
    let id: String
    let model: String
    let words: ReplyWords
    let promptTokens: Int
    let isAzure: Bool
    let hasEmptyChoices: Bool

    /// The answer of a call without streaming.
    var whole: JSONValue {
        var members = members(object: shape == .chat ? "chat.completion" : "text_completion")
        let choice: JSONValue =
            switch shape {
            case .chat:
                [
                    "index": 0,
                    "message": [
                        "role": "assistant", "content": .string(words.text), "refusal": .null,
                        "annotations": [],
                    ],
                    "logprobs": .null, "finish_reason": "stop",
                ]
            case .completion:
                [
                    "text": .string(words.text), "index": 0, "logprobs": .null,
                    "finish_reason": "stop",
                ]
            }
        members.append(("choices", choices([choice])))
        members.append(("usage", usage))
        if isAzure { members.append(("prompt_filter_results", Reply.promptFilter)) }
        return .object(members)
    }

    /// One event's object; `usage` is absent unless the client asked for it.
    func chunk(choices list: [JSONValue], usage: JSONValue?) -> JSONValue {
        var members = members(
            object: shape == .chat ? "chat.completion.chunk" : "text_completion")
        members.append(("choices", choices(list)))
        if let usage { members.append(("usage", usage)) }
        return .object(members)
    }

    func choice(text: String?, isFirst: Bool = false, isLast: Bool = false) -> JSONValue {
        let finish: JSONValue = isLast ? "stop" : .null
        if shape == .completion {
            return [
                "text": .string(text ?? ""), "index": 0, "logprobs": .null, "finish_reason": finish,
            ]
        }
        let delta: JSONValue =
            if isFirst {
                ["role": "assistant", "content": "", "refusal": .null]
            } else if let text {
                ["content": .string(text)]
            } else {
                [:]
            }
        return ["index": 0, "delta": delta, "logprobs": .null, "finish_reason": finish]
    }

    var usage: JSONValue {
        [
            "prompt_tokens": .integer(promptTokens), "completion_tokens": .integer(words.count),
            "total_tokens": .integer(promptTokens + words.count),
            "prompt_tokens_details": ["cached_tokens": 0, "audio_tokens": 0],
            "completion_tokens_details": ["reasoning_tokens": 0, "audio_tokens": 0],
        ]
    }

    static let promptFilter: JSONValue = [
        [
            "prompt_index": 0,
            "content_filter_results": ["hate": ["filtered": false, "severity": "safe"]],
        ]
    ]

    private func choices(_ list: [JSONValue]) -> JSONValue {
        .array(hasEmptyChoices ? [] : list)
    }

    private func members(object: String) -> [(name: String, value: JSONValue)] {
        [
            ("id", .string((shape == .chat ? "chatcmpl-" : "cmpl-") + id)),
            ("object", .string(object)),
            ("created", .integer(Endpoints.created)),
            ("model", .string(model)),
            ("service_tier", "default"),
            ("system_fingerprint", "fp_mock"),
        ]
    }
}

/// The server-sent events of a streamed reply, one a piece.
struct ReplyEvents: PieceSource {
    private enum Phase {
        case filter, role, words, finish, usage, done, over
    }

    private let reply: Reply
    private let includesUsage: Bool
    private let isGarbage: Bool
    private var phase: Phase
    private var index = 0

    init(_ reply: Reply, includesUsage: Bool, _ behaviour: Behaviour) {
        self.reply = reply
        self.includesUsage = includesUsage
        isGarbage = behaviour.isGarbageJSON
        // Azure begins with an event that has no choices; completions have no role.
        phase = reply.isAzure ? .filter : reply.shape == .chat ? .role : .words
    }

    mutating func next() -> Piece? {
        switch phase {
        case .filter:
            phase = reply.shape == .chat ? .role : .words
            return event(
                ["choices": [], "prompt_filter_results": Reply.promptFilter], isCounted: false)
        case .role:
            phase = .words
            return chunk(reply.choice(text: nil, isFirst: true), isCounted: false)
        case .words:
            guard let word = reply.words.piece(index) else {
                phase = .finish
                return next()
            }
            index += 1
            if isGarbage { return Piece(bytes: Array("data: {\"choices\": [\n\n".utf8)) }
            return chunk(reply.choice(text: word), isCounted: true)
        case .finish:
            phase = includesUsage ? .usage : .done
            return chunk(reply.choice(text: nil, isLast: true), isCounted: false)
        case .usage:
            phase = .done
            return event(reply.chunk(choices: [], usage: reply.usage), isCounted: false)
        case .done:
            phase = .over
            return Piece(bytes: Array("data: [DONE]\n\n".utf8), isCounted: false)
        case .over:
            return nil
        }
    }

    private func chunk(_ choice: JSONValue, isCounted: Bool) -> Piece {
        event(
            reply.chunk(choices: [choice], usage: includesUsage ? .null : nil),
            isCounted: isCounted)
    }

    private func event(_ json: JSONValue, isCounted: Bool) -> Piece {
        var bytes = Array("data: ".utf8)
        bytes.reserveCapacity(384)
        bytes += json.encoded
        bytes += "\n\n".utf8
        return Piece(bytes: bytes, isCounted: isCounted)
    }
}
