// One call of each endpoint, as its documents show it: for curl, and for editors that send requests.

internal import Formats
internal import Gateway

enum CallExamples {
    /// The method that an example uses: what only reads is read by GET.
    static func method(of endpoint: Endpoint) -> String {
        endpoint.methods.contains("GET") && endpoint.access == .credential ? "GET" : "POST"
    }

    // MARK: - curl

    /// The call in a shell, which has the ids of the caller's objects in variables.
    static func curl(_ endpoint: Endpoint) -> String {
        var words = ["curl"]
        if endpoint.answer == .stream { words.append("-N") }
        if endpoint.access != .open {
            words.append("-H \"Authorization: Bearer $PROXY_GPT_TOKEN\"")
        }
        let parameters = APIReference.exampleParameters(of: endpoint).flatMap { parameter in
            values(of: parameter).map { (parameter.name, $0) }
        }
        if method(of: endpoint) == "GET" {
            let query = parameters.map { "\($0)=\(shell($1))" }.joined(separator: "&")
            let rest = query.isEmpty ? "" : "?" + query
            words.append("\"$PROXY_GPT_URL\(endpoint.path)\(rest)\"")
        } else {
            words.append("\"$PROXY_GPT_URL\(endpoint.path)\"")
            if parameters.isEmpty { words.append("-X POST") }
            for (name, value) in parameters {
                let option = isPlain(value) ? "-d" : "--data-urlencode"
                words.append("\(option) \"\(name)=\(shell(value))\"")
            }
        }
        return lines(words)
    }

    static func curl(_ entry: OperatorPath) -> String { "curl \"$PROXY_GPT_URL\(entry.path)\"" }

    /// Words over several lines, none of them longer than it must be.
    private static func lines(_ words: [String]) -> String {
        var lines: [String] = []
        for word in words {
            if let last = lines.last, last.utf8.count + word.utf8.count < 90 {
                lines[lines.count - 1] = "\(last) \(word)"
            } else {
                lines.append(word)
            }
        }
        return lines.joined(separator: " \\\n    ")
    }

    private static func values(of parameter: ParameterSpecification) -> [String] {
        switch parameter.example {
        case .string(let text): [text]
        case .array(let elements): elements.compactMap(\.stringValue)
        default: [parameter.example.compactText]
        }
    }

    private static func isPlain(_ value: String) -> Bool {
        value.utf8.allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"):
                true
            default: false
            }
        }
    }

    private static func variable(of value: String) -> String? {
        Example.variables.first { $0.value == value }?.name
    }

    private static func shell(_ value: String) -> String {
        variable(of: value).map { "$\($0)" } ?? value
    }

    // MARK: - docs/api.http

    /// Every call, in the form that editors send.
    static var requestFile: String {
        let variables = Example.variables.map { "@\($0.name) = \($0.value)\n" }.joined()
        let own = APIReference.endpoints.map(request)
        let operators = OperatorPath.all.map { entry in
            "### \(entry.meaning)\nGET {{PROXY_GPT_URL}}\(entry.path)\n"
        }
        return """
            # Every call of Proxy GPT's API, for editors that send HTTP requests. The values below are examples: put
            # yours in their place. This file is written by make docs.

            @PROXY_GPT_URL = http://localhost:8080
            \(variables)

            """ + (own + [forwardedRequest] + operators).joined(separator: "\n")
    }

    private static func request(_ endpoint: Endpoint) -> String {
        let parameters = APIReference.exampleParameters(of: endpoint)
        var text = "### \(endpoint.meaning)\n"
        let authorization =
            endpoint.access == .open ? "" : "Authorization: Bearer {{PROXY_GPT_TOKEN}}\n"
        if method(of: endpoint) == "GET" {
            let query = parameters.flatMap { parameter in
                values(of: parameter).map { "\(parameter.name)=\(braces($0))" }
            }
            let rest = query.isEmpty ? "" : "?" + query.joined(separator: "&")
            text += "GET {{PROXY_GPT_URL}}\(endpoint.path)\(rest)\n\(authorization)"
        } else {
            let members = parameters.map { (name: $0.name, value: braces($0.example)) }
            text +=
                "POST {{PROXY_GPT_URL}}\(endpoint.path)\n\(authorization)"
                + "Content-Type: application/json\n\n\(JSONValue.object(members).compactText)\n"
        }
        return text
    }

    private static let forwardedRequest: String = {
        let body: JSONValue = [
            "model": "gpt-4",
            "messages": [["role": "user", "content": "Hello"]],
        ]
        return """
            ### \(APIReference.forwardedSummary)
            POST {{PROXY_GPT_URL}}\(Endpoints.forwarded)chat/completions
            Authorization: Bearer {{PROXY_GPT_TOKEN}}
            Content-Type: application/json

            \(body.compactText)

            """
    }()

    private static func braces(_ value: JSONValue) -> JSONValue {
        switch value {
        case .string(let text): .string(braces(text))
        case .array(let elements): .array(elements.map { braces($0) })
        default: value
        }
    }

    private static func braces(_ value: String) -> String {
        variable(of: value).map { "{{\($0)}}" } ?? value
    }

    // MARK: - docs/llms.txt

    /// The API in a few lines of Markdown, for language models (llmstxt.org).
    static var summaryForModels: String {
        let introduction = APIReference.introduction.map { section in
            "## \(section.title)\n\n\(section.paragraphs.joined(separator: "\n\n"))\n"
        }
        let nouns = APIReference.nouns.compactMap { noun -> String? in
            let endpoints = APIReference.endpoints.filter { $0.noun == noun.name }
            if endpoints.isEmpty { return nil }
            return "## \(noun.title)\n\n" + endpoints.map(line).joined()
        }
        let objects = JSONSchema.closure(of: APIReference.rootSchemas).map { schema in
            let members = schema.members.map {
                "\($0.name)\($0.isOptional ? "?" : ""): \($0.value.text)"
            }
            return "- `\(schema.name)` {\(members.joined(separator: ", "))}: \(schema.meaning)\n"
        }
        let operators = OperatorPath.all.map { "- `GET \($0.path)`: \($0.meaning)\n" }
        return """
            # Proxy GPT

            > An API backend with AI built in: users, groups, chats with a model, streamed replies, and below \
            `\(Endpoints.forwarded)` the whole API of OpenAI or a compatible server, passed on with one shared key.

            The whole description is `/openapi.json` (OpenAPI 3.1); `/docs` is the same for people. This file is \
            written by make docs.


            """ + (introduction + nouns).joined(separator: "\n") + """

                ## The upstream's API

                - `\(Endpoints.forwarded)…`: \(APIReference.forwardedSummary) \(APIReference.forwardedAnswer)

                ## Operators

                \(operators.joined())
                ## Objects

                \(objects.joined())
                """
    }

    private static func line(_ endpoint: Endpoint) -> String {
        let parameters =
            endpoint.required.map { "\($0.name): \($0.kind.text)" }
            + endpoint.optional.map { "\($0.name)?: \($0.kind.text)" }
        let answer =
            endpoint.answer == .stream
            ? "frames: PartialFrame, FinalFrame, ResetFrame"
            : endpoint.answer.schemas.map(\.name).joined(separator: " or ")
        let methods = endpoint.methods.filter { $0 != "HEAD" }.joined(separator: " or ")
        return "- `\(methods) \(endpoint.path)` (\(parameters.joined(separator: ", "))) → "
            + "\(answer). \(endpoint.meaning)\n"
    }
}

extension ValueSchema {
    /// The value's type, for people.
    var text: String {
        switch self {
        case .text: "text"
        case .id: "id"
        case .time: "time"
        case .boolean: "true or false"
        case .integer: "whole number"
        case .choice(let texts): texts.joined(separator: " | ")
        case .constant(let value): value.compactText
        case .object(let schema): schema.name
        case .list(let element): "list of \(element.text)"
        case .nullable(let element): "\(element.text) or null"
        }
    }
}

extension ParameterSpecification.Kind {
    /// The parameter's type with its bounds, for people.
    var text: String {
        switch self {
        case .text(_, let characters?): "text of up to \(characters) characters"
        case .text(let bytes?, nil): "text of up to \(bytes) bytes"
        case .text(nil, nil): "text"
        case .line(let bytes, let characters):
            bytes < 4 * characters
                ? "a line of up to \(bytes) bytes" : "a line of up to \(characters) characters"
        case .id: "id"
        case .user: "id or name"
        case .integer(let range): "whole number from \(range.lowerBound) to \(range.upperBound)"
        case .boolean: "true or false"
        case .users(let limit): "list of up to \(limit) ids or names"
        }
    }
}
