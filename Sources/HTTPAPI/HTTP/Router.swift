internal import ProxyGPT

/// One endpoint of our own.
struct Route: Sendable {
    enum Access: Sendable {
        /// Anybody, because it is how one gets a credential. It sets the cookie, but not for a page of a
        /// foreign origin that may call.
        case open
        /// Anybody with a valid credential.
        case credential
        /// As `credential`, which may also be the parameter `token`; GET acts, too. It clears the
        /// cookie, likewise.
        case logout
    }

    let path: String
    let methods: [String]
    let access: Access
    /// The names of all parameters that it knows.
    let parameters: [String]
    let handle: @Sendable (API, Call) async throws -> Response

    init(
        _ path: String, _ methods: [String], _ parameters: [String] = [],
        _ access: Access = .credential,
        _ handle: @escaping @Sendable (API, Call) async throws -> Response
    ) {
        self.path = path
        self.methods = methods
        self.access = access
        self.parameters = parameters
        self.handle = handle
    }
}

/// Which path means what.
package enum Router {
    private static let post = ["POST"]
    private static let read = ["GET", "HEAD", "POST"]

    // Names that go together on several endpoints.
    private static let chat = ["id", "chat_id"]
    private static let group = ["id", "group_id"]
    private static let user = ["user_id", "username"]
    private static let page = ["limit", "before", "after"]

    static let routes: [Route] = [
        Route("/chat/create", post, ["name", "model", "group_id"]) { try await $0.createChat($1) },
        Route("/chat/read", read, chat + page) { try await $0.readChat($1) },
        Route("/chat/update", post, chat + ["name", "model"]) { try await $0.updateChat($1) },
        Route("/chat/delete", post, chat) { try await $0.deleteChat($1) },
        Route("/chat/prompt", post, chat + ["prompt", "context", "stream", "otr"]) {
            try await $0.prompt($1)
        },
        Route("/chat/stop", post, chat + ["message_id"]) { try await $0.stopReply($1) },
        Route("/chat/index", read, ["group_id"] + page) { try await $0.indexChats($1) },
        Route("/chat/user/add", post, chat + user) { try await $0.addChatUser($1) },
        Route("/chat/user/remove", post, chat + user) { try await $0.removeChatUser($1) },
        Route("/group/create", post, ["name", "description"]) { try await $0.createGroup($1) },
        Route("/group/delete", post, group) { try await $0.deleteGroup($1) },
        Route("/group/read", read, group + page) { try await $0.readGroup($1) },
        Route("/group/update", post, group + ["name", "description", "owner_id"]) {
            try await $0.updateGroup($1)
        },
        Route("/group/index", read, page) { try await $0.indexGroups($1) },
        Route("/group/members", read, group + page) { try await $0.indexMembers($1) },
        Route("/group/members/add", post, group + ["user_ids"]) { try await $0.addMembers($1) },
        Route("/group/members/remove", post, group + ["user_ids"]) {
            try await $0.removeMembers($1)
        },
        Route("/user/signup", post, ["username", "password", "first_name", "last_name"], .open) {
            try await $0.signup($1)
        },
        Route("/user/login", post, ["username", "password"], .open) { try await $0.login($1) },
        Route("/user/logout", read, ["token"], .logout) { try await $0.logout($1) },
        Route("/user/read", read, ["id", "username"]) { try await $0.readUser($1) },
        Route("/user/update", post, ["username", "first_name", "last_name"]) {
            try await $0.updateUser($1)
        },
        Route("/user/session", read) { try await $0.session($1) },
        Route("/user/password/update", post, ["old_password", "new_password"]) {
            try await $0.updatePassword($1)
        },
    ]

    /// What `stream` knows, which is served elsewhere; `lastEventId` is what libraries for
    /// server-sent events add.
    static let streamParameters = chat + ["token", "last_event_id", "lastEventId"]

    /// Where the streamer serves subscribers, see `StreamEndpoint`.
    static let stream = "/chat/stream"

    /// Where WebSockets are all there is.
    static let realtime = "/v1/realtime"

    /// Everything below this is passed on to the upstream, WebSockets by the streamer, see
    /// `RealtimeEndpoint`.
    static let forwarded = "/v1/"

    /// Where prompts are answered, by the upstream's paths.
    static let chatCompletions = "/v1/chat/completions"

    /// Names below this may hold a slash, which must then be escaped.
    static let models = "/v1/models/"

    /// Where load balancers and operators look, see `OperatorEndpoint`.
    static let live = "/live"
    static let ready = "/ready"
    static let readyStreamer = "/ready/streamer"
    static let metrics = "/metrics"
    static let status = "/status"

    /// The upstream's paths that are counted by themselves.
    private static let counted = [
        chatCompletions, "/v1/completions", "/v1/embeddings", "/v1/responses", "/v1/models",
        "/v1/images/generations", "/v1/audio/speech", "/v1/audio/transcriptions", "/v1/files",
        "/v1/batches", "/v1/moderations", realtime,
    ]

    /// What requests are counted under: a closed set, whatever clients ask for.
    package static let countedRoutes =
        routes.map(\.path) + counted
        + [stream, live, ready, metrics, status, otherWebSockets, "/v1/*", "other"]

    /// WebSockets at paths that serve HTTP as well: a call of an hour is no slow answer.
    private static let otherWebSockets = "/v1/* websocket"

    private static let indices = Dictionary(
        uniqueKeysWithValues: countedRoutes.enumerated().map { ($1, $0) })

    /// The place of a path, as it is written, among the counted routes.
    static func countedIndex(of path: some StringProtocol) -> Int {
        let name = String(path)
        if name.isShortASCII, let index = indices[name] { return index }
        return indices[name.beginsWithBytes(of: forwarded) ? "/v1/*" : "other"] ?? 0
    }

    /// The place of a WebSocket below /v1/ among the counted routes.
    static func countedIndex(ofWebSocket path: String) -> Int {
        countedIndex(of: path.utf8.elementsEqual(realtime.utf8) ? realtime : otherWebSockets)
    }

    enum Destination {
        case own(Route)
        case upstream
        case nowhere
    }

    private static let byPath = Dictionary(uniqueKeysWithValues: routes.map { ($0.path, $0) })

    static func destination(of path: String) -> Destination {
        if path.beginsWithBytes(of: forwarded) { return .upstream }
        guard path.isShortASCII else { return .nowhere }
        return byPath[path].map { .own($0) } ?? .nowhere
    }
}
