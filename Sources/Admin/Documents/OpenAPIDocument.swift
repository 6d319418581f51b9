internal import Formats
internal import Gateway
internal import ProxyGPT

/// The OpenAPI 3.1 document of the API, made from the endpoint table.
enum OpenAPIDocument {
    static let json: JSONValue = object(
        ("openapi", "3.1.0"), ("info", info),
        // Relative to the document's own address, which may be a path of another site.
        ("servers", [["url": "."]]),
        ("security", .array(credentials.map { [$0: []] })),
        (
            "tags",
            .array(
                APIReference.nouns.map {
                    ["name": .string($0.name), "description": .string($0.meaning)]
                })
        ), ("paths", .object(ownPaths + [forwardedPath] + operatorPaths)),
        ("components", components))

    private static let info: JSONValue = [
        "title": .string(APIReference.title), "version": .string(Product.version),
        "description": .string(
            APIReference.introduction.flatMap { ["## \($0.title)"] + $0.paragraphs }
                .joined(separator: "\n\n")),
    ]

    // MARK: - Our own endpoints

    private static var ownPaths: [(name: String, value: JSONValue)] {
        APIReference.endpoints.map { endpoint in
            let methods = endpoint.methods.filter { $0 != "HEAD" }
            return (
                endpoint.path,
                .object(methods.map { ($0.lowercased(), operation(endpoint, $0)) })
            )
        }
    }

    private static func operation(_ endpoint: Endpoint, _ method: String) -> JSONValue {
        // Of a path with two methods, the one that examples use has the plain name.
        let isPlain = method == CallExamples.method(of: endpoint)
        let suffix = isPlain ? "" : "By\(method.lowercased().withCapital)"
        let headers = endpoint.headers.map(header)
        let query = method == "GET" ? parameters(of: endpoint) : []
        return object(
            ("operationId", .string(endpoint.name + suffix)),
            ("tags", [.string(endpoint.noun)]),
            ("summary", .string(endpoint.meaning)),
            ("security", security(of: endpoint)),
            ("parameters", headers.isEmpty && query.isEmpty ? nil : .array(query + headers)),
            ("requestBody", method == "POST" ? body(of: endpoint) : nil),
            ("responses", .object(responses(of: endpoint, method))))
    }

    /// Nil for the document's own rule: one of the three credentials.
    private static func security(of endpoint: Endpoint) -> JSONValue? {
        let all = credentials.map { JSONValue.object([($0, [])]) }
        return switch endpoint.access {
        case .open: []
        case .logout: .array(all + [[:]])
        // Streams take the token as a parameter, too.
        case .credential: endpoint.answer == .stream ? .array(all + [[:]]) : nil
        }
    }

    private static func parameters(of endpoint: Endpoint) -> [JSONValue] {
        let required = endpoint.required.map { ($0, true) }
        return (required + endpoint.optional.map { ($0, false) }).map { parameter, isRequired in
            object(
                ("name", .string(parameter.name)), ("in", "query"),
                ("required", .boolean(isRequired)),
                ("description", .string(APIReference.description(of: parameter, endpoint))),
                ("schema", JSONSchema.parameter(parameter, keepsAbsent: endpoint.keepsAbsent)),
                ("example", parameter.example))
        }
    }

    private static func header(_ header: HeaderSpecification) -> JSONValue {
        [
            "name": .string(header.name), "in": "header", "required": false,
            "description": .string(header.meaning), "schema": ["type": "string"],
            "example": .string(header.example),
        ]
    }

    private static func body(of endpoint: Endpoint) -> JSONValue? {
        if endpoint.required.isEmpty && endpoint.optional.isEmpty { return nil }
        let content: JSONValue = [
            "schema": JSONSchema.reference(to: endpoint.requestName),
            "example": APIReference.exampleBody(of: endpoint),
        ]
        return [
            // Parameters may come in the query string as well.
            "required": false,
            "content": ["application/json": content, "application/x-www-form-urlencoded": content],
        ]
    }

    static func requestSchema(of endpoint: Endpoint) -> JSONValue {
        object(
            ("type", "object"), ("description", .string("The parameters of \(endpoint.path).")),
            (
                "properties",
                .object(
                    (endpoint.required + endpoint.optional).map { parameter in
                        guard
                            case .object(let members) = JSONSchema.parameter(
                                parameter, keepsAbsent: endpoint.keepsAbsent)
                        else { return (parameter.name, .null) }
                        let description = APIReference.description(of: parameter, endpoint)
                        return (
                            parameter.name,
                            .object(members + [(name: "description", value: .string(description))])
                        )
                    })
            ),
            (
                "required",
                endpoint.required.isEmpty
                    ? nil : .array(endpoint.required.map { .string($0.name) })
            ), ("example", APIReference.exampleBody(of: endpoint)))
    }

    // MARK: - Answers

    private static func responses(
        of endpoint: Endpoint, _ method: String
    ) -> [(name: String, value: JSONValue)] {
        var responses: [(name: String, value: JSONValue)] = []
        if endpoint.answer == .stream {
            if method == "GET" { responses.append((name: "101", value: webSocket)) }
            responses.append((name: "200", value: events))
        } else {
            responses.append((name: "200", value: success(of: endpoint)))
        }
        return responses
            + ErrorStatus.of(endpoint).map { status in
                (
                    name: "\(status)",
                    value: errorReference(status, passesRefusals: endpoint.passesRefusals)
                )
            }
    }

    private static func success(of endpoint: Endpoint) -> JSONValue {
        let schemas = endpoint.answer.schemas
        let names = ["X-Request-Id", "Server-Timing"]
        let cookie = endpoint.access == .credential ? [] : ["Set-Cookie"]
        return [
            "description": .string(schemas.map(\.meaning).joined(separator: " Or: ")),
            "headers": headers(names + cookie),
            "content": [
                "application/json": [
                    "schema": JSONSchema.reference(toOneOf: schemas),
                    "example": schemas[0].example,
                ]
            ],
        ]
    }

    private static let webSocket: JSONValue = [
        "description": """
        A WebSocket, where the request asks for one. Each text frame is JSON as x-message-schemas says. The server \
        pings every 25 s and closes with 1008 (no longer allowed, or a client that reads too slowly), 1012 (restart) \
        or 1013 (too many streams).
        """,
        "headers": headers(["X-Request-Id"]),
        "x-message-schemas": .array(
            AnswerSchemas.webSocketFrames.map { JSONSchema.reference(to: $0.name) }),
    ]

    private static let events: JSONValue = [
        "description": """
        Server-sent events, until the client leaves. The data of an event is JSON as x-event-schemas says, by the \
        event's name; message is the name of an event without one. A comment comes every 15 s.
        """,
        "headers": headers(["X-Request-Id"]),
        "content": [
            "text/event-stream": [
                "schema": ["type": "string"], "example": .string(APIReference.exampleEvents),
                "x-event-schemas": [
                    "message": JSONSchema.reference(toOneOf: AnswerSchemas.eventFrames),
                    "reset": JSONSchema.reference(to: AnswerSchemas.resetFrame.name),
                ],
            ]
        ],
    ]

    private static func errorReference(_ status: Int, passesRefusals: Bool) -> JSONValue {
        let isRefusal =
            passesRefusals && UpstreamRefusal.Status.allCases.contains { $0.rawValue == status }
        let name = isRefusal ? "UpstreamError" : "Error"
        return ["$ref": .string("#/components/responses/\(name)\(status)")]
    }

    // MARK: - The upstream's and the operators' paths

    private static var forwardedPath: (name: String, value: JSONValue) {
        let path: JSONValue = [
            "name": "path", "in": "path", "required": true, "schema": ["type": "string"],
            "description": "The rest of the path, slashes included.", "example": "chat/completions",
        ]
        let answer: JSONValue = [
            "default": [
                "description": .string(APIReference.forwardedAnswer),
                "headers": headers(["X-Request-Id", "X-Upstream-Request-Id"] + rateLimits),
                "content": ["*/*": ["schema": [:]]],
            ]
        ]
        let body: JSONValue = ["required": false, "content": ["*/*": ["schema": [:]]]]
        let methods = ["get", "post", "put", "patch", "delete"].map { method in
            (
                name: method,
                value: object(
                    ("operationId", .string("forward\(method.withCapital)")),
                    ("tags", ["upstream"]),
                    ("summary", .string(APIReference.forwardedSummary)),
                    (
                        "externalDocs",
                        [
                            "description": "The upstream's own reference",
                            "url": .string(APIReference.upstreamReference),
                        ]
                    ), ("requestBody", method == "get" ? nil : body), ("responses", answer))
            )
        }
        return (
            Endpoints.forwarded + "{path}",
            .object([(name: "parameters", value: .array([path]))] + methods)
        )
    }

    private static var operatorPaths: [(name: String, value: JSONValue)] {
        OperatorPath.all.map { entry in
            let flags = entry.flags.map { flag -> JSONValue in
                [
                    "name": .string(flag.name), "in": "query", "required": false,
                    "allowEmptyValue": true, "description": .string(flag.meaning),
                    "schema": ["type": "string"],
                ]
            }
            let errors = ErrorStatus.ofOperators.map { status in
                (name: "\(status)", value: errorReference(status, passesRefusals: false))
            }
            let success: JSONValue = [
                "description": .string(entry.meaning), "headers": headers(["X-Request-Id"]),
                "content": content(of: entry.answer),
            ]
            let operation = object(
                ("operationId", .string(entry.name)), ("tags", ["operators"]),
                ("summary", .string(entry.meaning)), ("security", []),
                ("parameters", flags.isEmpty ? nil : .array(flags)),
                ("responses", .object([(name: "200", value: success)] + errors)))
            return (entry.path, ["get": operation])
        }
    }

    private static func content(of answer: OperatorPath.Answer) -> JSONValue {
        switch answer {
        case .json(let schema): ["application/json": json(schema)]
        case .text(let type, let example): .object([(type, text(example))])
        case .either(let example, let schema):
            ["text/plain; charset=utf-8": text(example), "application/json": json(schema)]
        }
    }

    private static func json(_ schema: ObjectSchema) -> JSONValue {
        ["schema": JSONSchema.reference(to: schema.name), "example": schema.example]
    }

    private static func text(_ example: String) -> JSONValue {
        ["schema": ["type": "string"], "example": .string(example)]
    }
}
