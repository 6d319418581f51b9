internal import Formats

/// One row of the audit log: a request, or another event. Texts are cut to the lengths in `Limit`.
package struct Event: Sendable {
    package typealias ID = Identifier<Event>

    package enum Kind: String, Sendable {
        /// A call of an endpoint of this product.
        case request
        /// A call below `/v1/` that was passed on.
        case forward
        /// An open stream of a chat's frames: from its beginning to its end.
        case stream
        /// The upstream call of a streamed prompt, whose request was answered before.
        case reply
        /// A login with a wrong name or password.
        case loginFailure = "login_failure"
        /// A count of requests without a valid credential, beyond those that are recorded one by
        /// one.
        case refused
        /// A command of the operator.
        case admin
    }

    /// The end of a request.
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
    /// Further text of some kinds, such as the number of requests in a `refused` row.
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

    /// The most bytes of each text.
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

    /// The most bytes of each body.
    package static let bodyLimit = 16 * 1024
}

/// Records events durably. Rows of one process are committed in groups.
package protocol EventLog: Sendable {
    /// Queues the opening row of a call that may take long, and returns at once. A `close` before
    /// the commit makes one row of both.
    func open(_ event: Event)

    /// Returns when the opening row of `id` is committed, or was never queued in this process.
    /// Throws when the commit failed: the call must then be refused.
    func opened(_ id: Event.ID) async throws

    /// Writes the closing row (the whole event when it was never opened) and returns when it is
    /// committed. Throws when the commit failed.
    func close(_ event: Event) async throws

    /// Queues a whole row without waiting for the commit. Drops the row, with a log line, when the
    /// queue is full.
    func record(_ event: Event)
}
