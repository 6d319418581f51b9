// What the documents of the API say beside the endpoint table: the words that all of them share.

internal import Formats
internal import Gateway
internal import ProxyGPT

enum APIReference {
    static let title = "Proxy GPT"

    /// The nouns of the API, by which its documents are ordered.
    static let nouns = [
        Noun(name: "users", title: "Users", meaning: "Users, log-ins and sessions."),
        Noun(name: "chats", title: "Chats", meaning: "Chats, their messages and their streams."),
        Noun(name: "groups", title: "Groups", meaning: "Groups, their members and their chats."),
        Noun(
            name: "upstream", title: "The upstream's API",
            meaning: "OpenAI's API, or that of a compatible server, passed on."),
        Noun(
            name: "operators", title: "Operators",
            meaning: "Paths for load balancers, monitoring and operators."),
    ]

    struct Noun {
        let name: String
        let title: String
        let meaning: String
    }

    /// All endpoints of our own, those of workers first; the stream stands behind the other chat endpoints.
    static let endpoints: [Endpoint] = {
        let place = Endpoints.all.lastIndex { $0.noun == Endpoints.stream.noun } ?? 0
        var endpoints = Endpoints.all
        endpoints.insert(Endpoints.stream, at: place + 1)
        return endpoints
    }()

    /// What answers and frames hold.
    static var rootSchemas: [ObjectSchema] {
        var roots = endpoints.flatMap(\.answer.schemas)
        for entry in OperatorPath.all {
            switch entry.answer {
            case .json(let schema), .either(_, let schema): roots.append(schema)
            case .text: break
            }
        }
        return roots + AnswerSchemas.eventFrames + AnswerSchemas.webSocketFrames
            + [AnswerSchemas.resetFrame, AnswerSchemas.failure, AnswerSchemas.refusal]
    }

    // MARK: - What holds for all endpoints

    /// In Markdown, of which `code` is used alone.
    static let introduction: [(title: String, paragraphs: [String])] = [
        (
            "Credentials",
            [
                """
                Every call but signing up, logging in and the health paths needs the token of a session, in one of \
                three places: `Authorization: Bearer TOKEN`; `Authorization: Basic` with the user's name and the \
                token; the cookie `sess`. Streams also take the parameter `token`, since a browser's EventSource and \
                WebSocket send no headers. Without a valid credential the answer is 401.
                """
            ]
        ),
        (
            "Parameters",
            [
                """
                Parameters come in the query string, as a form \
                (`application/x-www-form-urlencoded`) or as a JSON object (`application/json`; a body that begins \
                with `{` is JSON whatever its type). Every endpoint takes POST; those that only read take GET and \
                HEAD as well. A list is a field that repeats, a field with commas or a JSON array. In forms and \
                queries a truth value is `true`, `1`, `false` or `0`.
                """,
                """
                An unknown parameter is refused with 400, which names it; names in the query that begin with `_` \
                are ignored, and `null` in JSON counts as absent. Where two names stand for one parameter, either \
                will do.
                """,
            ]
        ),
        (
            "Pages",
            [
                """
                Lists are in the order of creation. A page has the newest `limit` elements, or those around the \
                element whose id is `before` or `after`; `has_more` tells whether the list goes on. A page of \
                messages ends early where its texts exceed 4 MiB.
                """
            ]
        ),
        (
            "Answers",
            [
                """
                Answers are JSON. An object has the members that this document lists and no others. Times are RFC \
                3339 in UTC with milliseconds, ids are UUIDs. Every answer has the header `X-Request-Id`: the \
                request's own, where it sent one of 1 to 64 letters, digits, dots, dashes and underscores.
                """
            ]
        ),
        (
            "Errors",
            [
                """
                An error has OpenAI's shape, whoever answers: `error.code` is for programs, `error.message` for \
                people, `error.param` names the parameter that is wrong. `Retry-After` tells after how many seconds \
                to try again. A method that a path does not take is 405 with `Allow`.
                """
            ]
        ),
    ]

    static let exampleEvents: String = {
        func event(_ schema: ObjectSchema) -> String {
            "id: \(Example.frame)\ndata: \(schema.example.compactText)\n\n"
        }
        return "retry: 2500\n\n" + event(AnswerSchemas.partialFrame)
            + event(AnswerSchemas.finalFrame)
    }()

    // MARK: - The upstream's API

    static let upstreamReference = "https://platform.openai.com/docs/api-reference"
    static let forwardedSummary =
        "Passes the call on to the upstream: any method and any path below \(Endpoints.forwarded)."
    static let forwardedAnswer = """
        The upstream's answer, verbatim. Our own refusals have the shape of Error: 401 without a credential, 403 for \
        a path that is closed, 413 for a body that is too large, 502 where the upstream cannot be reached or refuses \
        the server's key, 503, and 504 where the upstream does not answer in time. A WebSocket at any path is passed \
        on as well.
        """

    // MARK: - Parameters

    /// A parameter's meaning, with what a schema cannot say: bytes, further names, a default that is no value.
    static func description(of parameter: ParameterSpecification, _ endpoint: Endpoint) -> String {
        var sentences = [parameter.meaning]
        switch parameter.kind {
        case .text(let bytes?, _), .line(let bytes, _): sentences.append("At most \(bytes) bytes.")
        default: break
        }
        if parameter.names.count > 1 {
            let others = parameter.names.dropFirst().joined(separator: " or ")
            sentences.append("May also be called \(others).")
        }
        if let text = defaultText(of: parameter, endpoint) { sentences.append("Default: \(text).") }
        return sentences.joined(separator: " ")
    }

    /// What stands for an absent parameter, in words; nil where its absence means nothing.
    static func defaultText(
        of parameter: ParameterSpecification, _ endpoint: Endpoint
    ) -> String? {
        if endpoint.required.contains(where: { $0.name == parameter.name }) { return nil }
        if endpoint.keepsAbsent { return "unchanged" }
        return switch parameter.defaultValue {
        case .value(.string(""))?: "empty"
        case .value(.string(let text))?: text
        case .value(let value)?: value.compactText
        case .described(let text)?: text
        case nil: nil
        }
    }

    /// The parameters of a call as examples show it: what is required, or else the first one that matters.
    static func exampleParameters(of endpoint: Endpoint) -> [ParameterSpecification] {
        let isMeagre = endpoint.required.isEmpty || endpoint.keepsAbsent
        let passedOver = [Known.token, Known.username, Known.ofGroup] as [any SpecifiedParameter]
        let names = passedOver.map(\.specification.name)
        let first = endpoint.optional.first { !names.contains($0.name) }
        return endpoint.required + (isMeagre ? [first].compactMap { $0 } : [])
    }

    static func exampleBody(of endpoint: Endpoint) -> JSONValue {
        .object(exampleParameters(of: endpoint).map { ($0.name, $0.example) })
    }
}

extension Endpoint {
    /// What documents and generated clients call the endpoint.
    var name: String { operation.map { "\($0)" } ?? "streamChat" }

    /// The tag among `APIReference.nouns`.
    var noun: String {
        path.split(separator: "/").first.map { "\($0)s" } ?? ""
    }

    /// The name of the schema of its parameters.
    var requestName: String { "\(name.withCapital)Request" }
}

extension String {
    var withCapital: String { prefix(1).uppercased() + dropFirst() }
}
