internal import Gateway
internal import ProxyGPT

/// The statuses of errors, with what stands in the body.
struct ErrorStatus {
    let status: Int
    /// The codes of errors of ours that come with the status.
    let codes: [Failure.Code]
    /// What the status means.
    let meaning: String

    private init(_ status: Int, _ codes: [Failure.Code], _ meaning: String) {
        self.status = status
        self.codes = codes
        self.meaning = meaning
    }

    /// The statuses that the table of failures has, and those that nginx answers by itself, in order.
    static let all: [ErrorStatus] = {
        let ofTable = Set(Failure.Code.allCases.map(\.status)).map { status in
            ErrorStatus(
                status, Failure.Code.allCases.filter { $0.status == status },
                sentences(for: status))
        }
        return (ofTable + ofNginx).sorted { $0.status < $1.status }
    }()

    /// What nginx refuses before a worker sees it.
    static let ofNginx = [
        ErrorStatus(
            408, [.invalidRequest], "The request did not arrive in time."),
        ErrorStatus(
            414, [.invalidRequest], "The request line is longer than 16 KiB."),
        ErrorStatus(
            431, [.invalidRequest], "A header is longer than 16 KiB, or there are too many."),
        ErrorStatus(
            501, [.invalidRequest], "The transfer encoding is not supported."),
        ErrorStatus(
            505, [.invalidRequest], "The version of HTTP is not supported."),
    ]

    /// The statuses of errors that a call of the endpoint may have: of the table, of nginx, and of the
    /// upstream where its refusals are passed on. The method is one of the endpoint's.
    static func of(_ endpoint: Endpoint) -> [Int] {
        let codes = (Endpoint.commonFailures + endpoint.failures).filter { $0 != .methodNotAllowed }
        let refusals = endpoint.passesRefusals ? UpstreamRefusal.Status.allCases : []
        return Set(codes.map(\.status) + ofNginx.map(\.status) + ofGate + refusals.map(\.rawValue))
            .sorted()
    }

    /// The statuses of a path of load balancers and operators.
    static let ofOperators = Set(
        [Failure.Code.invalidRequest, .forbidden, .tooLarge, .internal, .unavailable].map(\.status)
            + ofNginx.map(\.status) + ofGate
    ).sorted()

    /// nginx has too many requests of an address, or no worker that answers.
    private static let ofGate = [Failure.Code.rateLimited, .upstreamError, .upstreamTimeout]
        .map(\.status)

    private static func sentences(for status: Int) -> String {
        let codes = Failure.Code.allCases.filter { $0.status == status }
        return codes.map(\.meaning).joined(separator: " ")
    }
}

extension Failure.Code {
    /// What the code means, in one sentence.
    var meaning: String {
        switch self {
        case .invalidRequest: "A parameter is wrong: param names it."
        case .unauthorized: "There is no token, or it is not one of a session."
        case .forbidden:
            "The caller is not the owner, sign-up is closed, the account is disabled, or a page of "
                + "another origin made the request."
        case .pathClosed: "The operator has not opened this path."
        case .notFound: "The object does not exist, or the caller may not see it."
        case .methodNotAllowed: "The path takes other methods: Allow names them."
        case .conflict: "The name is taken, or the call contradicts the object's present state."
        case .tooLarge: "The body or the prompt is too large."
        case .unsupportedMediaType: "The body is neither a form nor JSON."
        case .misdirected: "The service has another host name."
        case .upgradeRequired: "There is no WebSocket here, or none of this version."
        case .rateLimited:
            "There are too many requests, log-ins, streams or replies of this caller."
        case .internal: "The server failed: the request id finds the reason in its log."
        case .upstreamError: "The upstream failed, or no worker could answer."
        case .upstreamAuthentication: "The server's key is wrong, not the caller's token."
        case .upstreamTimeout: "The answer did not come in time."
        case .unavailable: "The server cannot serve just now: Retry-After says when to try again."
        }
    }
}
