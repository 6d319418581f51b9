internal import Credentials
internal import Formats
package import Gateway
package import ProxyGPT

/// `/chat/stream`: decides whether a caller may subscribe to a chat, and records connects and disconnects.
/// How frames travel is the fan-out's business.
package struct StreamEndpoint: Sendable {
    /// The outcome of a request.
    package enum Answer: Sendable {
        /// A whole answer; the request is recorded.
        case response(Response)
        case subscription(Subscription)
    }

    /// The largest body, in bytes: a form of a few ids and a token.
    package static let maxBody: Int64 = 16 * 1024

    private let store: any Store
    private let clock: any Clock
    private let admission: Admission
    private let recorder: StreamRecorder

    package init(
        store: any Store, clock: any Clock, recorder: StreamRecorder
    ) {
        self.store = store
        self.clock = clock
        self.recorder = recorder
        admission = recorder.admission
    }

    // MARK: - Beginning

    /// Decides about one request, whatever it is.
    package func answer(_ request: Request) async -> Answer {
        let startedAt = clock.monotonicMicroseconds()
        var event = recorder.began(request, .request)
        do {
            switch try admission.enter(request) {
            case .preflight(let response):
                return .response(recorder.preflight(event, since: startedAt, request, response))
            case .target(let target):
                return .subscription(
                    try await subscription(for: request, target, &event, startedAt))
            }
        } catch {
            var response = Response(recorder.failure(for: error, request))
            if request.namesWebSocket { response.nameWebSocketVersion() }
            return .response(await finish(request, event, startedAt, response))
        }
    }

    private func subscription(
        for request: Request, _ target: RequestTarget, _ event: inout Event, _ startedAt: Int64
    ) async throws -> Subscription {
        var body: [UInt8] = []
        if request.method == "POST" {
            body = try await request.wholeBody(limit: Self.maxBody)
            event.bytesIn = Int64(body.count)
        }
        let parameters = Result { () throws(Failure) in
            try Parameters(
                Endpoints.stream.parameters, query: target.query, body: body,
                contentType: request.value(of: "Content-Type"))
        }
        let (caller, credential) = try await admission.admit(
            request, token: try token(target, parameters),
            opensWebSocket: request.asksForWebSocket)
        event.userID = caller.user.id
        guard target.path.hasSameBytes(as: Endpoints.stream.path) else {
            throw Failure(.notFound, "There is nothing at \(target.path).")
        }
        try Endpoints.stream.check(method: request.method)
        let given = try parameters.get()
        let chatID = try given.required(Known.chat)
        let resumption = try resumption(request, given)
        let transport = try request.transport()
        guard let access = try await store.access(to: chatID, of: caller.user.id) else {
            throw Failure(.notFound, "There is no chat with this id.", parameter: "id")
        }
        event.chatID = chatID.text
        event.groupID = access.chat.groupID?.text
        event.kind = .stream
        event.status = transport.status
        recorder.open(event)
        return Subscription(
            caller: caller, tokenDigest: Token.digest(of: credential.token ?? ""),
            chat: access.chat, transport: transport, resumption: resumption,
            isHeadOnly: request.method == "HEAD", headers: admission.commonHeaders(request),
            event: event,
            startedAt: startedAt)
    }

    /// The credential among the parameters. Errors in the other ones are reported only after authentication
    /// succeeds.
    private func token(
        _ target: RequestTarget, _ parameters: Result<Parameters, Failure>
    ) throws(Failure) -> String? {
        switch parameters {
        case .success(let parameters): try parameters.value(of: Known.token)
        case .failure: target.queryText("token", limit: PresentedCredential.tokenLimit)
        }
    }

    /// The header is what a browser's EventSource sends when it comes back, with the same URL.
    private func resumption(
        _ request: Request, _ parameters: Parameters
    ) throws(Failure) -> Resumption {
        let given = try parameters.value(of: Known.lastEventID)
        guard let text = request.value(of: "Last-Event-ID") ?? given, !text.isEmpty else {
            return .none
        }
        return FrameID(text).map { .after($0) } ?? .impossible
    }

    // MARK: - While it lasts

    /// Whether the session still is one and the user still may read the chat.
    package func isStillAllowed(_ subscription: Subscription) async throws -> Bool {
        guard try await admission.authenticator.isStillValid(tokenDigest: subscription.tokenDigest)
        else {
            return false
        }
        return try await store.access(to: subscription.chatID, of: subscription.userID) != nil
    }

    // MARK: - The end

    /// Records how a stream ended; `bytesOut` counts what left after the head.
    package func ended(
        _ subscription: Subscription, _ end: Event.End, bytesOut: Int64, detail: String?
    ) async {
        var event = subscription.event
        event.end = end
        event.bytesOut = bytesOut
        event.detail = detail
        await recorder.ended(event, since: subscription.startedAt)
    }

    private func finish(
        _ request: Request, _ event: Event, _ startedAt: Int64, _ answer: Response
    ) async -> Response {
        await recorder.finish(
            event, since: startedAt, answer, admission.commonHeaders(request),
            isHeadOnly: request.method == "HEAD")
    }
}
