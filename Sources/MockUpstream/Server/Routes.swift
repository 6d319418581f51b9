/// The route table, first match wins: method, path below the face's root, endpoint.
private let table: [RouteLine] = [
    RouteLine("GET", "models", .models),
    RouteLine("GET", "models/**", .model),
    RouteLine("POST", "chat/completions", .chat),
    RouteLine("POST", "completions", .completions),
    RouteLine("POST", "embeddings", .embeddings),
    RouteLine("POST", "files", .upload),
    RouteLine("GET", "files/*/content", .fileContent),
    RouteLine("GET", "realtime", .realtime),
    RouteLine("POST", "responses", .responses),
    RouteLine("GET", "responses", .responseSocket),
    RouteLine(nil, "echo", .echo),
    RouteLine(nil, "echo/**", .echo),
]

/// The endpoints of Azure below a deployment.
private let azureTable: [RouteLine] = [
    RouteLine("POST", "chat/completions", .chat),
    RouteLine("POST", "completions", .completions),
    RouteLine("POST", "embeddings", .embeddings),
    RouteLine(nil, "audio/**", .echo),
    RouteLine(nil, "images/**", .echo),
]

/// The control calls, which are never counted or recorded.
private let controlTable: [RouteLine] = [
    RouteLine("GET", "calls", .calls),
    RouteLine("DELETE", "calls", .forgetCalls),
    RouteLine("GET", "stats", .stats),
    RouteLine("GET", "wait", .wait),
]

/// The endpoint that answers a call.
enum Endpoint {
    case models, model, chat, completions, responses, embeddings, upload, fileContent
    case realtime, responseSocket, echo
    case calls, forgetCalls, stats, wait
    case unknown, wrongMethod

    /// Whether the answer depends on nothing but address, key and body.
    var readsOnlyBody: Bool {
        switch self {
        case .chat, .completions, .responses, .embeddings: true
        default: false
        }
    }
}

/// The service that a call expects: OpenAI, Azure or the mock's control calls.
enum Face: Equatable {
    case openAI
    /// Azure's addresses with a deployment or an `api-version`.
    case azure(deployment: String?)
    /// Azure's newer addresses, the same as OpenAI's below another root.
    case azureV1
    case control

    var isAzure: Bool {
        switch self {
        case .azure, .azureV1: true
        case .openAI, .control: false
        }
    }
}

/// One line of a route table; `*` is one segment, `**` at the end one or more.
private struct RouteLine: Sendable {
    let method: String?
    let pattern: [Substring]
    let endpoint: Endpoint

    init(_ method: String?, _ pattern: String, _ endpoint: Endpoint) {
        self.method = method
        self.pattern = pattern.split(separator: "/")
        self.endpoint = endpoint
    }

    func matches(_ segments: ArraySlice<Substring>) -> Bool {
        var rest = segments
        for name in pattern {
            guard let segment = rest.popFirst() else { return false }
            switch name {
            case "**": return true
            case "*": continue
            default: guard segment == name else { return false }
            }
        }
        return rest.isEmpty
    }
}

/// The route of a call.
struct Route {
    let face: Face
    let endpoint: Endpoint
    /// The raw path segments below the face's root.
    let segments: [Substring]

    init(method: String, path: Substring) {
        var rest = path.split(separator: "/", omittingEmptySubsequences: false)[...]
        // A path begins with "/", so the first segment is empty.
        _ = rest.popFirst()
        switch rest.popFirst() {
        case "v1":
            face = .openAI
        case "mock":
            face = .control
        case "openai":
            if rest.first == "v1" {
                face = .azureV1
                rest.removeFirst()
            } else if rest.first == "deployments", rest.count > 1 {
                rest.removeFirst()
                face = .azure(deployment: rest.popFirst().flatMap { percentDecoded($0) })
            } else {
                face = .azure(deployment: nil)
            }
        default:
            face = .openAI
            rest = []
        }
        segments = Array(rest)
        let lines =
            switch face {
            case .control: controlTable
            case .azure(deployment: .some): azureTable
            default: table
            }
        var found = Endpoint.unknown
        for line in lines where line.matches(rest) {
            found = line.method == nil || line.method == method ? line.endpoint : .wrongMethod
            if found != .wrongMethod { break }
        }
        endpoint = found
    }
}
