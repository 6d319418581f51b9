internal import Formats

/// One row of the audit log: a request, or something else that happened. No text is longer than
/// `Limit` says, whatever a request brought.
package struct Event: Sendable {
    package typealias ID = Identifier<Event>

    package enum Kind: String, Sendable {
        /// A call of an endpoint of our own.
        case request
        /// A call below `/v1/` that was passed on.
        case forward
        /// An open stream of a chat's frames: from its beginning to its end.
        case stream
        /// The upstream call behind a prompt whose own request was answered before.
        case reply
        /// A login with a wrong name or password.
        case loginFailure = "login_failure"
        /// Requests without a valid credential beyond what is recorded one by one, counted.
        case refused
        /// A command of the operator.
        case admin
    }

    /// How a request ended.
    package enum End: String, Sendable {
        case done
        case clientGone = "client_gone"
        case upstreamCut = "upstream_cut"
        case timeout
        case stopped
        case error
    }

    package let id: ID
    package let timestamp: Timestamp
    package var kind: Kind
    package let requestID: String
    package let clientAddress: String
    package let method: String
    /// Without the query, which may hold a token.
    package var path: String { didSet { path = path.beginning(bytes: Limit.path) } }
    package var status: Int?
    /// From the first byte that was read to the moment the row was closed.
    package var durationMicroseconds: Int64?
    package var userID: User.ID?
    package var chatID: String? { didSet { chatID = chatID?.beginning(bytes: Limit.id) } }
    package var groupID: String? { didSet { groupID = groupID?.beginning(bytes: Limit.id) } }
    package var model: String? { didSet { model = model?.beginning(bytes: Limit.model) } }
    package var promptTokens: Int64?
    package var completionTokens: Int64?
    package var upstreamStatus: Int?
    package var upstreamMicroseconds: Int64?
    package var upstreamRequestID: String? {
        didSet {
            upstreamRequestID = upstreamRequestID?.beginning(bytes: Limit.upstreamRequestID)
        }
    }
    package var bytesIn: Int64 = 0
    package var bytesOut: Int64 = 0
    package var end: End?
    /// More about it where `kind` calls for more: how many requests a `refused` row stands for.
    package var detail: String? { didSet { detail = detail?.beginning(bytes: Limit.detail) } }
    /// The beginnings of a `/v1` call's bodies, kept beside the row.
    package var requestBody: [UInt8]?
    package var responseBody: [UInt8]?

    package init(
        id: ID, timestamp: Timestamp, kind: Kind, requestID: String = "",
        clientAddress: String = "",
        method: String = "", path: String = ""
    ) {
        self.id = id
        self.timestamp = timestamp
        self.kind = kind
        self.requestID = requestID.beginning(bytes: Limit.requestID)
        self.clientAddress = clientAddress.beginning(bytes: Limit.clientAddress)
        self.method = method.beginning(bytes: Limit.method)
        self.path = path.beginning(before: "?").beginning(bytes: Limit.path)
    }

    /// How many bytes of each text are kept.
    package enum Limit {
        package static let id = 36
        package static let requestID = 64
        package static let clientAddress = 64
        package static let method = 32
        package static let path = 1024
        package static let model = 200
        package static let upstreamRequestID = 200
        package static let detail = 1024
    }

    /// How much of each body is kept, in bytes.
    package static let bodyLimit = 16 * 1024
}

/// Records events durably. Rows of one process are committed in groups.
package protocol EventLog: Sendable {
    /// Queues the opening row of a call that may take long. Returns at once; an `open` that is
    /// followed by its `close` before it was committed becomes one row.
    func open(_ event: Event)

    /// Returns once the opening row of `id` is committed, or was never queued here.
    /// Throws when it could not be committed: the call must then not be answered as if it were.
    func opened(_ id: Event.ID) async throws

    /// Writes the closing row (the whole event when it was never opened) and returns once it is
    /// committed. Throws when it could not be.
    func close(_ event: Event) async throws

    /// Queues a whole row that nobody waits for; dropped with a log line when the queue is full.
    func record(_ event: Event)
}
