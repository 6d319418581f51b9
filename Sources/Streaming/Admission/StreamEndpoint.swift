internal import Credentials
internal import Formats
package import Gateway
package import ProxyGPT

/// `/chat/stream`: decides who may subscribe to a chat, and records connects and disconnects. How
/// frames travel is the streamer's.
package struct StreamEndpoint: Sendable {
    /// What becomes of a request.
    package enum Answer: Sendable {
        /// A whole answer; the request is recorded.
        case response(Response)
        case subscription(Subscription)
    }

    /// The largest body, in bytes: a form of a few ids and a token.
    package static let maxBody: Int64 = 16 * 1024

    private let store: any Store
    private let clock: any Clock
    private let authenticator: Authenticator
    private let crossSite: CrossSite
    private let recorder: StreamRecorder

    package init(
        settings: Settings, store: any Store, clock: any Clock,
        recorder: StreamRecorder
    ) {
        self.store = store
        self.clock = clock
        self.recorder = recorder
        authenticator = Authenticator(settings, store: store, clock: clock)
        crossSite = recorder.crossSite
    }

    // MARK: - Beginning

    /// Decides about one request, whatever it is.
    package func answer(_ request: Request) async -> Answer {
        let startedAt = clock.monotonicMicroseconds()
        var event = recorder.began(request, .request)
        do {
            try crossSite.checkHost(of: request)
            if let response = crossSite.preflight(request) {
                return .response(recorder.preflight(event, since: startedAt, request, response))
            }
            return .subscription(try await subscription(for: request, &event, startedAt))
        } catch {
            var response = Response(recorder.failure(for: error, request))
            if request.namesWebSocket { response.nameWebSocketVersion() }
            return .response(await finish(request, event, startedAt, response))
        }
    }

    private func subscription(
        for request: Request, _ event: inout Event, _ startedAt: Int64
    ) async throws -> Subscription {
        try request.checkHead()
        let target = try RequestTarget(of: request)
        let body = try await read(request, &event)
        let parameters = Result { () throws(Failure) in
            try Parameters(
                Endpoints.streamParameters, query: target.query, body: body,
                contentType: request.value(of: "Content-Type"))
        }
        let credentials = try presented(request, target, parameters)
        // A browser adds the cookie by itself, also for a page that is not ours.
        if request.asksForWebSocket {
            try crossSite.checkUpgrade(of: request, with: credentials)
        } else if case .cookie = credentials.first, request.method == "POST" {
            try crossSite.checkOrigin(of: request)
        }
        let (caller, credential) = try await authenticator.caller(credentials)
        event.userID = caller.user.id
        guard target.path.hasSameBytes(as: Endpoints.stream) else {
            throw Failure(.notFound, "There is nothing at \(target.path).")
        }
        let methods = ["GET", "HEAD", "POST"]
        guard methods.contains(request.method) else {
            throw Failure(
                .methodNotAllowed, "\(target.path) does not take \(request.method).",
                allow: methods.joined(separator: ", "))
        }
        let given = try parameters.get()
        let chatID: Chat.ID = try given.requiredID("id", "chat_id")
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
            isHeadOnly: request.method == "HEAD", headers: recorder.commonHeaders(request),
            event: event,
            startedAt: startedAt)
    }

    /// The body of a request that may have one.
    private func read(_ request: Request, _ event: inout Event) async throws -> [UInt8] {
        guard request.method == "POST" else { return [] }
        let limit = Self.maxBody
        let tooLarge = Failure(.tooLarge, "The body is larger than \(limit) bytes.")
        guard request.contentLength ?? 0 <= limit else { throw tooLarge }
        var body: [UInt8] = []
        while let piece = try await request.body.next() {
            body.append(contentsOf: piece)
            guard body.count <= limit else { throw tooLarge }
        }
        event.bytesIn = Int64(body.count)
        return body
    }

    /// The credentials. What is wrong with the parameters matters only to a caller.
    private func presented(
        _ request: Request, _ target: RequestTarget, _ parameters: Result<Parameters, Failure>
    ) throws(Failure) -> [PresentedCredential] {
        let token: String?
        switch parameters {
        case .success(let parameters): token = try parameters.text("token")
        case .failure:
            token = target.queryText("token", limit: PresentedCredential.tokenLimit)
        }
        return try authenticator.credentials(of: request, parameter: token)
    }

    /// The header is what a browser's EventSource sends when it comes back, with the same URL.
    private func resumption(
        _ request: Request, _ parameters: Parameters
    ) throws(Failure) -> Resumption {
        let given = try parameters.text("last_event_id", "lastEventId")
        guard let text = request.value(of: "Last-Event-ID") ?? given, !text.isEmpty else {
            return .none
        }
        return FrameID(text).map { .after($0) } ?? .impossible
    }

    // MARK: - While it lasts

    /// Whether the session still is one and the user still may read the chat.
    package func isStillAllowed(_ subscription: Subscription) async throws -> Bool {
        guard try await authenticator.isStillValid(tokenDigest: subscription.tokenDigest) else {
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
            event, since: startedAt, answer, recorder.commonHeaders(request),
            isHeadOnly: request.method == "HEAD")
    }
}
