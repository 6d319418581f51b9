internal import Formats
internal import ProxyGPT

/// All paths that are served here, and which path means what.
package enum Endpoints {
    private static let post = ["POST"]
    private static let read = ["GET", "HEAD", "POST"]

    /// What the workers serve, in the order of the specification.
    package static let all: [Endpoint] = [
        Endpoint(
            .createChat, "/chat/create", post,
            takes: [Known.chatName, Known.model, Known.inGroup], answers: .chat,
            fails: [.notFound], "Creates a chat."),
        Endpoint(
            .readChat, "/chat/read", read, requires: [Known.chat], takes: Known.page,
            answers: .chatWithUsersAndMessages, fails: [.notFound],
            "Reads a chat, its users and a page of its messages."),
        Endpoint(
            .updateChat, "/chat/update", post, requires: [Known.chat],
            takes: [Known.chatName, Known.model], keepsAbsent: true, answers: .chat,
            fails: [.notFound], "Changes a chat of the caller's."),
        Endpoint(
            .deleteChat, "/chat/delete", post, requires: [Known.chat], answers: .nothing,
            fails: [.notFound], "Deletes a chat of the caller's with its messages."),
        Endpoint(
            .prompt, "/chat/prompt", post, requires: [Known.chat, Known.prompt],
            takes: [Known.context, Known.stream, Known.offRecord],
            headers: [idempotencyKey], answers: .reply,
            fails: [.notFound, .conflict, .rateLimited] + upstreamFailures,
            "Stores a prompt and answers with the model's reply, or at once with stream."),
        Endpoint(
            .stopReply, "/chat/stop", post, requires: [Known.chat, Known.message], answers: .reply,
            fails: [.notFound], "Ends a running reply and answers with its message."),
        Endpoint(
            .indexChats, "/chat/index", read, takes: [Known.ofGroup] + Known.page, answers: .chats,
            fails: [.notFound], "Lists the chats that the caller may read."),
        Endpoint(
            .addChatUser, "/chat/user/add", post, requires: [Known.chat, Known.user],
            answers: .nothing, fails: [.notFound], "Adds a user to a chat of the caller's."),
        Endpoint(
            .removeChatUser, "/chat/user/remove", post, requires: [Known.chat, Known.user],
            answers: .nothing, fails: [.notFound],
            "Removes a user from a chat of the caller's, or the caller from any chat."),
        Endpoint(
            .createGroup, "/group/create", post, requires: [Known.groupName],
            takes: [Known.description], answers: .group,
            "Creates a group, of which the caller is owner and first member."),
        Endpoint(
            .deleteGroup, "/group/delete", post, requires: [Known.group], answers: .nothing,
            fails: [.notFound], "Deletes a group of the caller's with its chats."),
        Endpoint(
            .readGroup, "/group/read", read, requires: [Known.group], takes: Known.page,
            answers: .groupWithMembers, fails: [.notFound],
            "Reads a group and a page of its members."),
        Endpoint(
            .updateGroup, "/group/update", post, requires: [Known.group],
            takes: [Known.groupName, Known.description, Known.owner], keepsAbsent: true,
            answers: .group, fails: [.notFound],
            "Changes a group of the caller's; owner_id hands it to another member."),
        Endpoint(
            .indexGroups, "/group/index", read, takes: Known.page, answers: .groups,
            "Lists the groups that the caller is a member of."),
        Endpoint(
            .indexMembers, "/group/members", read, requires: [Known.group], takes: Known.page,
            answers: .users, fails: [.notFound], "Lists the members of a group."),
        Endpoint(
            .addMembers, "/group/members/add", post, requires: [Known.group, Known.users],
            answers: .nothing, fails: [.notFound],
            "Adds users to a group of the caller's: all or none."),
        Endpoint(
            .removeMembers, "/group/members/remove", post, requires: [Known.group, Known.users],
            answers: .nothing, fails: [.notFound, .conflict],
            "Removes users from a group of the caller's, or the caller from any: all or none."),
        Endpoint(
            .signUp, "/user/signup", post, access: .open,
            requires: [Known.username, Known.password], takes: [Known.firstName, Known.lastName],
            answers: .token, fails: [.conflict, .rateLimited],
            "Creates a user and its first session."),
        Endpoint(
            .logIn, "/user/login", post, access: .open,
            requires: [Known.loginName, Known.password], answers: .token, fails: [.rateLimited],
            "Begins a session."),
        Endpoint(
            .logOut, "/user/logout", read, access: .logout, takes: [Known.token],
            answers: .nothing, "Ends a session."),
        Endpoint(
            .readUser, "/user/read", read, takes: [Known.readUserID, Known.readUsername],
            answers: .user, fails: [.notFound],
            "Reads the caller, or a user who shares a chat or a group with the caller."),
        Endpoint(
            .updateUser, "/user/update", post,
            takes: [Known.username, Known.firstName, Known.lastName], keepsAbsent: true,
            answers: .ownUser, fails: [.conflict], "Changes the caller."),
        Endpoint(
            .readSession, "/user/session", read, answers: .session,
            "Reads the caller and the session of the credential."),
        Endpoint(
            .updatePassword, "/user/password/update", post,
            requires: [Known.oldPassword, Known.newPassword], answers: .nothing,
            fails: [.conflict, .rateLimited],
            "Changes the caller's password and ends all other sessions of the caller."),
    ]

    /// What the streamer serves, see `StreamEndpoint`.
    package static let stream = Endpoint(
        nil, "/chat/stream", read, requires: [Known.chat], takes: [Known.token, Known.lastEventID],
        headers: [lastEventID], answers: .stream, fails: [.notFound, .rateLimited],
        "Subscribes to a chat, by server-sent events or a WebSocket.")

    private static let idempotencyKey = HeaderSpecification(
        name: "Idempotency-Key",
        meaning: "1 to 255 printing ASCII characters: the same key of the same user brings the "
            + "same message and no second call.", example: "0f6c1c1e-trip-1")
    private static let lastEventID = HeaderSpecification(
        name: "Last-Event-ID",
        meaning: "The id of the last frame that was received: what came after it follows.",
        example: Example.frame)

    private static let upstreamFailures: [Failure.Code] = [
        .upstreamError, .upstreamAuthentication, .upstreamTimeout,
    ]

    /// Where WebSockets are all there is.
    package static let realtime = "/v1/realtime"

    /// Everything below this is passed on to the upstream, WebSockets by the streamer, see
    /// `RealtimeEndpoint`.
    package static let forwarded = "/v1/"

    /// Where prompts are answered, by the upstream's paths.
    static let chatCompletions = "/v1/chat/completions"

    /// Names below this may hold a slash, which must then be escaped.
    package static let models = "/v1/models/"

    /// The paths of load balancers and operators, see `OperatorEndpoint`.
    package static let live = "/live"
    package static let ready = "/ready"
    package static let readyStreamer = "/ready/streamer"
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
        + [stream.path, live, ready, metrics, status, otherWebSockets, "/v1/*", "other"]

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

/// What the worker does for an endpoint: the name under which its handler is found.
package enum Operation: Sendable, CaseIterable {
    case createChat, readChat, updateChat, deleteChat, prompt, stopReply, indexChats
    case addChatUser, removeChatUser
    case createGroup, deleteGroup, readGroup, updateGroup, indexGroups
    case indexMembers, addMembers, removeMembers
    case signUp, logIn, logOut, readUser, updateUser, readSession, updatePassword
}
