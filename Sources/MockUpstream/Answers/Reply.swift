/// A reply before it is written, as one object or as events.
struct Reply {
    let shape: ReplyAnswers.Shape
    let id: String
    let model: String
    let words: ReplyWords
    let promptTokens: Int
    let isAzure: Bool
    let hasEmptyChoices: Bool

    /// The answer to a call that does not stream.
    var whole: JSON {
        var members = members(object: shape == .chat ? "chat.completion" : "text_completion")
        let choice: JSON =
            switch shape {
            case .chat:
                [
                    "index": 0,
                    "message": [
                        "role": "assistant", "content": .string(words.text), "refusal": nil,
                        "annotations": [],
                    ],
                    "logprobs": nil, "finish_reason": "stop",
                ]
            case .completion:
                [
                    "text": .string(words.text), "index": 0, "logprobs": nil,
                    "finish_reason": "stop",
                ]
            }
        members.append(Reply.member("choices", choices([choice])))
        members.append(Reply.member("usage", usage))
        if isAzure { members.append(Reply.member("prompt_filter_results", Reply.promptFilter)) }
        return .object(members)
    }

    /// One event's object; `usage` is absent unless the client asked for it.
    func chunk(choices list: [JSON], usage: JSON?) -> JSON {
        var members = members(
            object: shape == .chat ? "chat.completion.chunk" : "text_completion")
        members.append(Reply.member("choices", choices(list)))
        if let usage { members.append(Reply.member("usage", usage)) }
        return .object(members)
    }

    func choice(text: String?, isFirst: Bool = false, isLast: Bool = false) -> JSON {
        let finish: JSON = isLast ? "stop" : nil
        if shape == .completion {
            return [
                "text": .string(text ?? ""), "index": 0, "logprobs": nil, "finish_reason": finish,
            ]
        }
        let delta: JSON =
            if isFirst {
                ["role": "assistant", "content": "", "refusal": nil]
            } else if let text {
                ["content": .string(text)]
            } else {
                [:]
            }
        return ["index": 0, "delta": delta, "logprobs": nil, "finish_reason": finish]
    }

    var usage: JSON {
        [
            "prompt_tokens": .integer(promptTokens), "completion_tokens": .integer(words.count),
            "total_tokens": .integer(promptTokens + words.count),
            "prompt_tokens_details": ["cached_tokens": 0, "audio_tokens": 0],
            "completion_tokens_details": ["reasoning_tokens": 0, "audio_tokens": 0],
        ]
    }

    static let promptFilter: JSON = [
        [
            "prompt_index": 0,
            "content_filter_results": ["hate": ["filtered": false, "severity": "safe"]],
        ]
    ]

    private func choices(_ list: [JSON]) -> JSON {
        .array(hasEmptyChoices ? [] : list)
    }

    private func members(object: String) -> [JSON.Member] {
        [
            Reply.member("id", .string((shape == .chat ? "chatcmpl-" : "cmpl-") + id)),
            Reply.member("object", .string(object)),
            Reply.member("created", .integer(Endpoints.created)),
            Reply.member("model", .string(model)),
            Reply.member("service_tier", "default"),
            Reply.member("system_fingerprint", "fp_mock"),
        ]
    }

    private static func member(_ name: String, _ value: JSON) -> JSON.Member {
        JSON.Member(name: name, value: value)
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

    private func chunk(_ choice: JSON, isCounted: Bool) -> Piece {
        event(
            reply.chunk(choices: [choice], usage: includesUsage ? .null : nil),
            isCounted: isCounted)
    }

    private func event(_ json: JSON, isCounted: Bool) -> Piece {
        var bytes = Array("data: ".utf8)
        bytes.reserveCapacity(384)
        json.write(to: &bytes)
        bytes += "\n\n".utf8
        return Piece(bytes: bytes, isCounted: isCounted)
    }
}
