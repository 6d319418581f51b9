import Formats

/// `POST /v1/responses`, plain and streamed, and the answers on a WebSocket there.
enum ResponseAnswers {
    static func answer(to call: Call, _ behaviour: inout Behaviour) throws(Refusal) -> Answer {
        let request = try ModelRequest(call, &behaviour)
        let response = try response(to: request, id: call.fingerprint, behaviour)
        guard request.json["stream"] == true else {
            return Answer(response.object(.completed))
        }
        return Answer(
            contentType: "text/event-stream; charset=utf-8",
            .pieces(
                ResponseEvents(response, over: .eventStream, behaviour), byteCount: nil))
    }

    /// The events that answer a message of a WebSocket, or nothing where none is expected.
    static func events(
        answering message: [UInt8], _ behaviour: inout Behaviour
    ) throws(Refusal) -> ResponseEvents? {
        let type = (try? JSONValue(parsing: message))?["type"]?.stringValue
        // Codex acknowledges responses.
        if type == "response.processed" { return nil }
        let request = try ModelRequest(message, &behaviour)
        guard type == "response.create" else {
            throw Refusal(
                status: 400, message: "Invalid value for 'type': expected 'response.create'.",
                parameter: "type", code: "invalid_value")
        }
        let response = try response(to: request, id: fingerprint(of: message), behaviour)
        return ResponseEvents(response, over: .socket, behaviour)
    }

    /// The event of an error on a WebSocket, in the place of a status.
    static func event(of refusal: Refusal) -> JSONValue {
        [
            "type": "error", "status": .integer(refusal.status),
            "error": refusal.members,
        ]
    }

    private static func response(
        to request: ModelRequest, id: String, _ behaviour: Behaviour
    ) throws(Refusal) -> Response {
        var (prompt, tokens) = try input(request.json)
        tokens += tokenCount(request.json["instructions"]?.stringValue ?? "")
        let isPreparation = request.json["generate"] == false
        return Response(
            request, id: id, words: ReplyWords(echoing: prompt, behaviour), inputTokens: tokens,
            hasOutput: !behaviour.hasEmptyChoices && !isPreparation)
    }

    /// Members that a request may have instead of new input.
    private static let substitutes = ["previous_response_id", "conversation", "prompt"]

    /// The last user message and the tokens of all.
    private static func input(_ request: JSONValue) throws(Refusal) -> (String, Int) {
        switch request["input"] {
        case .string(let text)?:
            return (text, 4 + tokenCount(text))
        case .array(let items)?:
            var last = ""
            var tokens = 0
            for item in items {
                // Results of tools have no role and an `output` where messages have `content`.
                let text = ReplyAnswers.text(of: item["content"] ?? item["output"])
                tokens += 4 + tokenCount(text)
                if item["role"] == "user" { last = text }
            }
            return (last, tokens)
        case nil, .null?:
            if substitutes.contains(where: { (request[$0] ?? .null) != JSONValue.null }) {
                return ("", 0)
            }
            throw Refusal(
                status: 400, message: "Missing required parameter: 'input'.",
                parameter: "input", code: "missing_required_parameter")
        default:
            throw Refusal(
                status: 400,
                message: "Invalid type for 'input': expected a string or an array of items.",
                parameter: "input", code: "invalid_type")
        }
    }
}
