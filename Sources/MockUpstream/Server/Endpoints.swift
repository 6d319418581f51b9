// From a call to an answer: key, options, endpoint.
//
// Everything here is computed from the call alone; equal calls get equal answers, byte for byte,
// so that an answer taken directly can be compared with one taken through a proxy. Does no I/O.

import Formats

/// Answers calls in OpenAI's and Azure's shapes.
struct Endpoints: Sendable {
    /// The key that calls have to bring, if any.
    let key: String?
    /// Milliseconds between the pieces of a stream whose call does not say.
    var chunkDelay = 0

    /// The moment that every answer names as its creation, constant like the rest of it.
    static let created = 1_700_000_000

    /// The answer to a call, and how to send it.
    func answer(to call: Call) -> (Answer, Behaviour) {
        var behaviour = Behaviour()
        do throws(Refusal) {
            try Endpoints.read(call.target.query, into: &behaviour)
            try checkVersion(call)
            try checkKey(call)
            try Endpoints.demandStatus(behaviour)
            var answer = try answer(to: call, &behaviour)
            if behaviour.isGarbageJSON, case .whole = answer.content {
                answer.content = .whole(Array(#"{"id": "mock", "choices": ["#.utf8))
            }
            if let status = behaviour.status { answer.status = status }
            let isStream = answer.contentType.utf8.starts(with: "text/event-stream".utf8)
            if isStream, behaviour.chunkDelay == 0 { behaviour.chunkDelay = chunkDelay }
            return (answer, behaviour)
        } catch {
            var refusal = error
            if behaviour.quotesKey, let key = call.presentedKey {
                refusal.message += " Your key: \(key)"
            }
            let isAzures = call.route.face.isAzure && (refusal.status == 401 || isUnknown(call))
            return (refusal.answer(inAzureShape: isAzures), behaviour)
        }
    }

    private func answer(to call: Call, _ behaviour: inout Behaviour) throws(Refusal) -> Answer {
        switch call.route.endpoint {
        case .models:
            return ModelAnswers.list(behaviour)
        case .model:
            return try ModelAnswers.model(call, behaviour)
        case .chat:
            return try ReplyAnswers.answer(.chat, to: call, &behaviour)
        case .completions:
            return try ReplyAnswers.answer(.completion, to: call, &behaviour)
        case .responses:
            return try ResponseAnswers.answer(to: call, &behaviour)
        case .embeddings:
            return try EmbeddingAnswers.answer(to: call, &behaviour)
        case .upload:
            return try FileAnswers.upload(call)
        case .fileContent:
            return FileAnswers.content(behaviour)
        case .realtime:
            return try RealtimeAnswers.answer(to: call)
        case .responseSocket:
            var answer = try RealtimeAnswers.answer(to: call)
            answer.socket?.responses = ResponseSocket(chunkDelay: chunkDelay)
            return answer
        case .echo:
            return EchoAnswer.answer(to: call, behaviour)
        case .wrongMethod:
            throw Refusal(
                status: 405,
                message: "Not allowed to \(call.method) on \(call.target.path). (HINT: Perhaps "
                    + "you meant to use a different HTTP method?)",
                code: "method_not_supported")
        case .unknown, .calls, .forgetCalls, .stats, .wait:
            throw Endpoints.unknown(call)
        }
    }

    // MARK: - Before the endpoint

    /// Reads a call's options, from the query or the model's name.
    static func read(_ query: Substring, into behaviour: inout Behaviour) throws(Refusal) {
        do throws(Behaviour.BadOption) {
            try behaviour.read(query)
        } catch {
            throw Refusal(
                status: 400, message: "mock-upstream: bad value for \(error.name)",
                parameter: error.name, code: "bad_mock_option")
        }
    }

    static func demandStatus(_ behaviour: Behaviour) throws(Refusal) {
        if let status = behaviour.status, status >= 400 { throw Refusal.demanded(status) }
    }

    private func isUnknown(_ call: Call) -> Bool {
        isMissingVersion(call) || call.route.endpoint == .unknown
    }

    private static func unknown(_ call: Call) -> Refusal {
        if call.route.face.isAzure {
            return Refusal(status: 404, message: "Resource not found", code: "404")
        }
        return Refusal(
            status: 404, message: "Invalid URL (\(call.method) \(call.target.path))")
    }

    private func isMissingVersion(_ call: Call) -> Bool {
        guard case .azure = call.route.face else { return false }
        return call.target.parameter("api-version")?.isEmpty ?? true
    }

    private func checkVersion(_ call: Call) throws(Refusal) {
        if isMissingVersion(call) { throw Endpoints.unknown(call) }
    }

    private func checkKey(_ call: Call) throws(Refusal) {
        guard let key else { return }
        switch call.route.face {
        case .openAI, .control:
            if call.bearerKey == key || call.header("api-key") == key { return }
            guard let presented = call.presentedKey else {
                throw Refusal(
                    status: 401,
                    message: "You didn't provide an API key. You need to provide your API key in "
                        + "an Authorization header using Bearer auth (i.e. Authorization: Bearer "
                        + "YOUR_KEY).")
            }
            throw Refusal(
                status: 401,
                message: "Incorrect API key provided: \(presented.prefix(8))****"
                    + "\(presented.suffix(4)). You can find your API key at "
                    + "https://platform.openai.com/account/api-keys.",
                code: "invalid_api_key")
        case .azureV1 where call.bearerKey == key:
            return
        case .azure, .azureV1:
            if call.header("api-key") == key { return }
            throw Refusal(
                status: 401,
                message: "Access denied due to invalid subscription key or wrong API endpoint. "
                    + "Make sure to provide a valid key for an active subscription and use a "
                    + "correct regional API endpoint for your resource.",
                code: "401")
        }
    }
}

/// The members of a JSON request that every endpoint with a model has.
struct ModelRequest {
    let json: JSONValue
    let model: String

    /// Reads the body, takes options off the model's name and obeys a demanded status.
    init(_ call: Call, _ behaviour: inout Behaviour) throws(Refusal) {
        guard call.body.isKeptWhole else {
            throw Refusal(status: 413, message: "The request body is too large")
        }
        var deployment: String?
        if case .azure(let name) = call.route.face { deployment = name }
        try self.init(call.body.bytes, deployment: deployment, &behaviour)
    }

    init(
        _ body: [UInt8], deployment: String? = nil, _ behaviour: inout Behaviour
    ) throws(Refusal) {
        guard let json = try? JSONValue(parsing: body), case .object = json else {
            throw Refusal(
                status: 400,
                message: "We could not parse the JSON body of your request. (HINT: This likely "
                    + "means you aren't using your HTTP library correctly. The OpenAI API expects "
                    + "a JSON payload, but what was sent was not valid JSON.)")
        }
        self.json = json
        guard let name = json["model"]?.stringValue ?? deployment, !name.isEmpty else {
            throw Refusal(status: 400, message: "you must provide a model parameter")
        }
        let cut = name.firstIndex(of: "?") ?? name.endIndex
        model = String(name[..<cut])
        try Endpoints.read(name[cut...].dropFirst(), into: &behaviour)
        try Endpoints.demandStatus(behaviour)
        try ModelAnswers.checkExists(model)
    }
}
