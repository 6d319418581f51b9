internal import Formats
internal import Gateway
internal import ProxyGPT

// What the operations of the document refer to: credentials, objects, errors and headers.
extension OpenAPIDocument {
    static let credentials = ["bearer", "basic", "cookie"]

    static var components: JSONValue {
        let requests = APIReference.endpoints.filter { !($0.required + $0.optional).isEmpty }
            .map { (name: $0.requestName, value: requestSchema(of: $0)) }
        let answers = JSONSchema.closure(of: APIReference.rootSchemas)
            .map { (name: $0.name, value: JSONSchema.definition(of: $0)) }
        return [
            "securitySchemes": [
                "bearer": [
                    "type": "http", "scheme": "bearer",
                    "description": "The token of a session.",
                ],
                "basic": [
                    "type": "http", "scheme": "basic",
                    "description": "The user's name, and the token in the place of the password.",
                ],
                "cookie": [
                    "type": "apiKey", "in": "cookie", "name": "sess",
                    "description": "The cookie that sign-up and log-in set. COOKIE_NAME names it.",
                ],
            ],
            "headers": .object(
                responseHeaders.map { header in
                    (
                        header.name,
                        object(
                            ("description", .string(header.meaning)),
                            ("required", header.isAlwaysThere ? true : nil),
                            ("schema", ["type": .string(header.type)]))
                    )
                }), "responses": .object(errorResponses),
            "schemas": .object((answers + requests).sorted { $0.name < $1.name }),
        ]
    }

    private static var errorResponses: [(name: String, value: JSONValue)] {
        let ours = ErrorStatus.all.map { entry in
            let code = entry.codes[0]
            let example: JSONValue = [
                "error": [
                    "message": .string(entry.meaning), "type": .string(code.type), "param": .null,
                    "code": .string(code.rawValue),
                ]
            ]
            return (
                name: "Error\(entry.status)",
                value: response(
                    entry.status, entry.meaning, AnswerSchemas.failure, example,
                    codes: .array(entry.codes.map { .string($0.rawValue) }))
            )
        }
        let refusals = UpstreamRefusal.Status.allCases.map { status in
            let ours = ErrorStatus.all.first { $0.status == status.rawValue }?.meaning
            return (
                name: "UpstreamError\(status.rawValue)",
                value: response(
                    status.rawValue,
                    [ours, "Or: the upstream refuses the prompt with this status."]
                        .compactMap { $0 }.joined(separator: " "), AnswerSchemas.refusal,
                    AnswerSchemas.refusal.example, codes: nil)
            )
        }
        return ours + refusals
    }

    private static func response(
        _ status: Int, _ meaning: String, _ schema: ObjectSchema, _ example: JSONValue,
        codes: JSONValue?
    ) -> JSONValue {
        let more =
            switch status {
            case Failure.Code.unauthorized.status: ["WWW-Authenticate"]
            case Failure.Code.methodNotAllowed.status: ["Allow"]
            case Failure.Code.rateLimited.status, Failure.Code.upstreamError.status,
                Failure.Code.unavailable.status:
                ["Retry-After"]
            default: [String]()
            }
        return object(
            ("description", .string(meaning)), ("headers", headers(["X-Request-Id"] + more)),
            (
                "content",
                [
                    "application/json": [
                        "schema": JSONSchema.reference(to: schema.name), "example": example,
                    ]
                ]
            ), ("x-error-codes", codes))
    }

    // MARK: - Headers

    static let rateLimits = ["limit", "remaining", "reset"].flatMap { word in
        ["requests", "tokens"].map { "x-ratelimit-\(word)-\($0)" }
    }

    private static let responseHeaders: [ResponseHeader] =
        [
            ResponseHeader(
                "X-Request-Id", isAlwaysThere: true,
                "The request's id in the log and in events: its own, where it sent one."),
            ResponseHeader(
                "Retry-After", type: "integer", "Seconds after which to try again; mostly there."),
            ResponseHeader("Allow", "The methods that the path takes."),
            ResponseHeader("WWW-Authenticate", "Always Bearer."),
            ResponseHeader("Set-Cookie", "The session cookie; not for a page of another origin."),
            ResponseHeader("Server-Timing", "Milliseconds of the stages of the call."),
            ResponseHeader("X-Upstream-Request-Id", "The upstream's id of the call."),
        ] + rateLimits.map { ResponseHeader($0, "The upstream's limit, where it tells.") }

    static func headers(_ names: [String]) -> JSONValue {
        .object(names.map { ($0, ["$ref": .string("#/components/headers/\($0)")]) })
    }
}

/// A header of answers.
private struct ResponseHeader {
    let name: String
    let type: String
    let isAlwaysThere: Bool
    let meaning: String

    init(
        _ name: String, type: String = "string", isAlwaysThere: Bool = false, _ meaning: String
    ) {
        self.name = name
        self.type = type
        self.isAlwaysThere = isAlwaysThere
        self.meaning = meaning
    }
}
