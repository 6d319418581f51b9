internal import Formats

/// All paths that are served here, and which path means what.
package enum Endpoints {
    private static let post = ["POST"]
    private static let read = ["GET", "HEAD", "POST"]

    // Names that go together on several endpoints.
    private static let chat = ["id", "chat_id"]
    private static let group = ["id", "group_id"]
    private static let user = ["user_id", "username"]
    private static let page = ["limit", "before", "after"]

    package static let all: [Endpoint] = [
        Endpoint(.createChat, "/chat/create", post, ["name", "model", "group_id"]),
        Endpoint(.readChat, "/chat/read", read, chat + page),
        Endpoint(.updateChat, "/chat/update", post, chat + ["name", "model"]),
        Endpoint(.deleteChat, "/chat/delete", post, chat),
        Endpoint(.prompt, "/chat/prompt", post, chat + ["prompt", "context", "stream", "otr"]),
        Endpoint(.stopReply, "/chat/stop", post, chat + ["message_id"]),
        Endpoint(.indexChats, "/chat/index", read, ["group_id"] + page),
        Endpoint(.addChatUser, "/chat/user/add", post, chat + user),
        Endpoint(.removeChatUser, "/chat/user/remove", post, chat + user),
        Endpoint(.createGroup, "/group/create", post, ["name", "description"]),
        Endpoint(.deleteGroup, "/group/delete", post, group),
        Endpoint(.readGroup, "/group/read", read, group + page),
        Endpoint(.updateGroup, "/group/update", post, group + ["name", "description", "owner_id"]),
        Endpoint(.indexGroups, "/group/index", read, page),
        Endpoint(.indexMembers, "/group/members", read, group + page),
        Endpoint(.addMembers, "/group/members/add", post, group + ["user_ids"]),
        Endpoint(.removeMembers, "/group/members/remove", post, group + ["user_ids"]),
        Endpoint(
            .signUp, "/user/signup", post, ["username", "password", "first_name", "last_name"],
            .open),
        Endpoint(.logIn, "/user/login", post, ["username", "password"], .open),
        Endpoint(.logOut, "/user/logout", read, ["token"], .logout),
        Endpoint(.readUser, "/user/read", read, ["id", "username"]),
        Endpoint(.updateUser, "/user/update", post, ["username", "first_name", "last_name"]),
        Endpoint(.readSession, "/user/session", read),
        Endpoint(.updatePassword, "/user/password/update", post, ["old_password", "new_password"]),
    ]

    /// What `stream` knows, which is served elsewhere; `lastEventId` is what libraries for
    /// server-sent events add.
    package static let streamParameters = chat + ["token", "last_event_id", "lastEventId"]

    /// Where the streamer serves subscribers, see `StreamEndpoint`.
    package static let stream = "/chat/stream"

    /// Where WebSockets are all there is.
    package static let realtime = "/v1/realtime"

    /// Everything below this is passed on to the upstream, WebSockets by the streamer, see
    /// `RealtimeEndpoint`.
    package static let forwarded = "/v1/"

    /// Where prompts are answered, by the upstream's paths.
    static let chatCompletions = "/v1/chat/completions"

    /// Names below this may hold a slash, which must then be escaped.
    package static let models = "/v1/models/"

    /// Where load balancers and operators look, see `OperatorEndpoint`.
    package static let live = "/live"
    package static let ready = "/ready"
    static let readyStreamer = "/ready/streamer"
    package static let metrics = "/metrics"
    package static let status = "/status"

    /// The upstream's paths that are counted by themselves.
    private static let counted = [
        chatCompletions, "/v1/completions", "/v1/embeddings", "/v1/responses", "/v1/models",
        "/v1/images/generations", "/v1/audio/speech", "/v1/audio/transcriptions", "/v1/files",
        "/v1/batches", "/v1/moderations", realtime,
    ]

    /// What requests are counted under: a closed set, whatever clients ask for.
    package static let countedRoutes =
        all.map(\.path) + counted
        + [stream, live, ready, metrics, status, otherWebSockets, "/v1/*", "other"]

    /// WebSockets at paths that serve HTTP as well: a call of an hour is no slow answer.
    private static let otherWebSockets = "/v1/* websocket"

    private static let indices = Dictionary(
        uniqueKeysWithValues: countedRoutes.enumerated().map { ($1, $0) })

    /// The place of a path, as it is written, among the counted routes.
    package static func countedIndex(of path: some StringProtocol) -> Int {
        let name = String(path)
        if name.isShortASCII, let index = indices[name] { return index }
        return indices[name.beginsWithBytes(of: forwarded) ? "/v1/*" : "other"] ?? 0
    }

    /// The place of a WebSocket below /v1/ among the counted routes.
    package static func countedIndex(ofWebSocket path: String) -> Int {
        countedIndex(of: path.utf8.elementsEqual(realtime.utf8) ? realtime : otherWebSockets)
    }

    /// Where a path leads.
    package enum Destination {
        case own(Endpoint)
        case upstream
        case nowhere
    }

    private static let byPath = Dictionary(uniqueKeysWithValues: all.map { ($0.path, $0) })

    package static func destination(of path: String) -> Destination {
        if path.beginsWithBytes(of: forwarded) { return .upstream }
        guard path.isShortASCII else { return .nowhere }
        return byPath[path].map { .own($0) } ?? .nowhere
    }
}
