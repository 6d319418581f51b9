/// One prompt and its reply.
package struct Message: Sendable, Equatable {
    package typealias ID = Identifier<Message>

    package enum State: String, CaseIterable, Sendable {
        /// The reply is awaited as a whole.
        case pending
        /// The reply is awaited, and its text is streamed.
        case streaming
        case done
        /// A user stopped the reply; the text so far is kept.
        case stopped
        case failed

        /// Whether the reply is awaited.
        package var isRunning: Bool { self == .pending || self == .streaming }
    }

    package let id: ID
    package let chatID: Chat.ID
    package let userID: User.ID
    /// The author's present name, even when the author has left the chat; nil when the user was
    /// deleted.
    package let username: String?
    package let groupID: Group.ID?
    /// The sequence number in the chat, by the order of insertion.
    package let seq: Int64
    package let prompt: String
    package var reply: String
    /// The upstream's name of the model.
    package let model: String
    /// Off the record: kept for the chat's users, never sent upstream.
    package let isOffRecord: Bool
    package var state: State
    package var failure: ReplyFailure?
    package var usage: Usage?
    package let createdAt: Timestamp
    package var updatedAt: Timestamp

    package init(
        id: ID, chatID: Chat.ID, userID: User.ID, username: String? = nil, groupID: Group.ID?,
        seq: Int64, prompt: String,
        reply: String = "", model: String, isOffRecord: Bool = false, state: State,
        failure: ReplyFailure? = nil, usage: Usage? = nil, createdAt: Timestamp,
        updatedAt: Timestamp
    ) {
        self.id = id
        self.chatID = chatID
        self.userID = userID
        self.username = username
        self.groupID = groupID
        self.seq = seq
        self.prompt = prompt
        self.reply = reply
        self.model = model
        self.isOffRecord = isOffRecord
        self.state = state
        self.failure = failure
        self.usage = usage
        self.createdAt = createdAt
        self.updatedAt = updatedAt
    }

    /// The longest prompt, in bytes.
    package static let promptLimit = 128 * 1024
    /// The longest reply, in bytes; a longer one is ended and fails.
    package static let replyLimit = 4 * 1024 * 1024
    /// The most bytes of text in a page of messages, which ends early otherwise.
    package static let pageSize = 4 * 1024 * 1024

    /// Bytes of the texts.
    package var size: Int { prompt.utf8.count + reply.utf8.count }
}

/// A prompt to be stored, before its chat is read.
package struct NewMessage: Sendable {
    package let id: Message.ID
    package let chatID: Chat.ID
    package let userID: User.ID
    package let prompt: String
    package let isOffRecord: Bool
    /// `pending` or `streaming`; `done` off the record.
    package let state: Message.State
    /// A key for which a user's prompt is stored only once.
    package let idempotencyKey: String?
    package let createdAt: Timestamp

    package init(
        id: Message.ID, chatID: Chat.ID, userID: User.ID, prompt: String, isOffRecord: Bool,
        state: Message.State, idempotencyKey: String?, createdAt: Timestamp
    ) {
        self.id = id
        self.chatID = chatID
        self.userID = userID
        self.prompt = prompt
        self.isOffRecord = isOffRecord
        self.state = state
        self.idempotencyKey = idempotencyKey
        self.createdAt = createdAt
    }
}

/// The result of storing a prompt.
package enum StoredPrompt: Sendable {
    /// The prompt is stored. The context version is the chat's at that moment.
    case new(Message, contextVersion: Int64)
    /// The idempotency key belongs to this earlier message.
    case known(Message)
}

/// The end of a reply.
package struct ReplyEnd: Sendable {
    package let state: Message.State
    package var reply: String
    package let failure: ReplyFailure?
    package let usage: Usage?

    package init(
        _ state: Message.State, reply: String, failure: ReplyFailure? = nil, usage: Usage? = nil
    ) {
        self.state = state
        self.reply = reply
        self.failure = failure
        self.usage = usage
    }
}
