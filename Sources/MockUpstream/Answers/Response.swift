import Formats

/// A response of the Responses API before it is written, as one object or as events.
struct Response {
    let id: String
    let model: String
    let words: ReplyWords
    let inputTokens: Int
    /// Whether the response has an output; without it the object is empty.
    let hasOutput: Bool
    private let request: JSONValue

    init(
        _ request: ModelRequest, id: String, words: ReplyWords, inputTokens: Int, hasOutput: Bool
    ) {
        self.id = id
        self.model = request.model
        self.words = words
        self.inputTokens = inputTokens
        self.hasOutput = hasOutput
        self.request = request.json
    }

    /// The state of a response.
    enum Status: String {
        case inProgress = "in_progress"
        case completed
    }

    /// Members that a response repeats from its request, each with its default.
    private static let repeated: [(name: String, initial: JSONValue)] = [
        ("background", false), ("instructions", .null), ("max_output_tokens", .null),
        ("max_tool_calls", .null), ("metadata", [:]), ("parallel_tool_calls", true),
        ("previous_response_id", .null), ("prompt_cache_key", .null),
        ("reasoning", ["effort": .null, "summary": .null]), ("safety_identifier", .null),
        ("store", true), ("temperature", 1), ("text", ["format": ["type": "text"]]),
        ("tool_choice", "auto"), ("tools", []), ("top_logprobs", 0), ("top_p", 1),
        ("truncation", "disabled"), ("user", .null),
    ]

    /// The whole object, which has output and usage at the end alone.
    func object(_ status: Status) -> JSONValue {
        let isCompleted = status == .completed
        var members: [(name: String, value: JSONValue)] = [
            ("id", .string("resp_" + id)), ("object", "response"),
            ("created_at", .integer(Endpoints.created)),
            ("status", .string(status.rawValue)),
            (
                "completed_at", isCompleted ? .integer(Endpoints.created) : .null
            ),
            ("error", .null), ("incomplete_details", .null),
            ("model", .string(model)),
            ("output", isCompleted && hasOutput ? [item(.completed)] : []),
            ("service_tier", "default"),
            ("usage", isCompleted ? usage : .null),
        ]
        for (name, initial) in Response.repeated {
            members.append((name, request[name] ?? initial))
        }
        return .object(members)
    }

    var itemID: String { "msg_" + id }

    /// The one message of the output.
    func item(_ status: Status) -> JSONValue {
        [
            "id": .string(itemID), "type": "message", "status": .string(status.rawValue),
            "role": "assistant",
            "content": status == .completed ? [Response.part(words.text)] : [],
        ]
    }

    static func part(_ text: String) -> JSONValue {
        ["type": "output_text", "annotations": [], "logprobs": [], "text": .string(text)]
    }

    private var usage: JSONValue {
        let outputTokens = hasOutput ? words.count : 0
        return [
            "input_tokens": .integer(inputTokens),
            "input_tokens_details": ["cached_tokens": 0, "cache_write_tokens": 0],
            "output_tokens": .integer(outputTokens),
            "output_tokens_details": ["reasoning_tokens": 0],
            "total_tokens": .integer(inputTokens + outputTokens),
        ]
    }
}

/// The events of a streamed response, one a piece.
struct ResponseEvents: PieceSource {
    /// The form of an event: a server-sent event, or a WebSocket's message.
    enum Transport {
        case eventStream, socket
    }

    private enum Phase {
        case created, inProgress, itemAdded, partAdded, words
        case textDone, partDone, itemDone, completed, over
    }

    private let response: Response
    private let transport: Transport
    private let isGarbage: Bool
    private var phase = Phase.created
    private var index = 0
    private var sequenceNumber = 0

    init(_ response: Response, over transport: Transport, _ behaviour: Behaviour) {
        self.response = response
        self.transport = transport
        isGarbage = behaviour.isGarbageJSON
    }

    mutating func next() -> Piece? {
        switch phase {
        case .created:
            phase = .inProgress
            return event("response.created", ["response": response.object(.inProgress)])
        case .inProgress:
            phase = response.hasOutput ? .itemAdded : .completed
            return event("response.in_progress", ["response": response.object(.inProgress)])
        case .itemAdded:
            phase = .partAdded
            return event(
                "response.output_item.added",
                ["output_index": 0, "item": response.item(.inProgress)])
        case .partAdded:
            phase = .words
            return event("response.content_part.added", place + [("part", Response.part(""))])
        case .words:
            guard let word = response.words.piece(index) else {
                phase = .textDone
                return next()
            }
            index += 1
            return event(
                "response.output_text.delta",
                place + [("delta", .string(word)), ("logprobs", [])], isCounted: true)
        case .textDone:
            phase = .partDone
            return event(
                "response.output_text.done",
                place + [("text", .string(response.words.text)), ("logprobs", [])])
        case .partDone:
            phase = .itemDone
            return event(
                "response.content_part.done",
                place + [("part", Response.part(response.words.text))])
        case .itemDone:
            phase = .completed
            return event(
                "response.output_item.done",
                ["output_index": 0, "item": response.item(.completed)])
        case .completed:
            phase = .over
            return event("response.completed", ["response": response.object(.completed)])
        case .over:
            return nil
        }
    }

    /// The part of the output that an event belongs to.
    private var place: [(name: String, value: JSONValue)] {
        [("item_id", .string(response.itemID)), ("output_index", 0), ("content_index", 0)]
    }

    private mutating func event(
        _ type: String, _ members: KeyValuePairs<String, JSONValue>
    ) -> Piece {
        event(type, members.map { (name: $0.key, value: $0.value) })
    }

    private mutating func event(
        _ type: String, _ members: [(name: String, value: JSONValue)], isCounted: Bool = false
    ) -> Piece {
        let common: [(name: String, value: JSONValue)] = [
            ("type", .string(type)), ("sequence_number", .integer(sequenceNumber)),
        ]
        sequenceNumber += 1
        var json = JSONValue.object(common + members).encoded
        if isGarbage, isCounted { json = Array(json.prefix(json.count / 2)) }
        switch transport {
        case .socket:
            return Piece(bytes: json, isCounted: isCounted)
        case .eventStream:
            let bytes = Array("event: \(type)\ndata: ".utf8) + json + Array("\n\n".utf8)
            return Piece(bytes: bytes, isCounted: isCounted)
        }
    }
}
