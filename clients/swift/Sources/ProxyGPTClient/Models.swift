#if canImport(FoundationEssentials)
    public import FoundationEssentials
#else
    public import Foundation
#endif

/// A user. Of other users the server shows the id and the names alone.
public struct User: Sendable, Hashable, Decodable {
    public let id: String
    public let username: String
    public let firstName: String
    public let lastName: String
    public let role: String?
    public let createdAt: Date?
    public let updatedAt: Date?
    /// The ids of the user's groups.
    public let groups: [String]?

    enum CodingKeys: String, CodingKey {
        case id, username, role, groups
        case firstName = "first_name"
        case lastName = "last_name"
        case createdAt = "created_at"
        case updatedAt = "updated_at"
    }
}

/// The time for which a token is valid.
public struct Session: Sendable, Hashable, Decodable {
    public let id: String
    public let createdAt: Date
    public let lastUsedAt: Date
    public let expiresAt: Date

    enum CodingKeys: String, CodingKey {
        case id
        case createdAt = "created_at"
        case lastUsedAt = "last_used_at"
        case expiresAt = "expires_at"
    }
}

/// The answer to a sign-up and a log-in. The client uses the token from then on.
public struct Login: Sendable, Hashable, Decodable {
    public let token: String
    public let user: User
}

/// The client's user with the session of its token.
public struct CurrentSession: Sendable, Hashable, Decodable {
    public let user: User
    public let session: Session
}

/// A chat.
public struct Chat: Sendable, Hashable, Decodable {
    public let id: String
    public let name: String
    public let model: String
    public let userID: String
    /// The group whose members may read the chat and prompt in it.
    public let groupID: String?
    public let createdAt: Date
    public let updatedAt: Date

    enum CodingKeys: String, CodingKey {
        case id, name, model
        case userID = "user_id"
        case groupID = "group_id"
        case createdAt = "created_at"
        case updatedAt = "updated_at"
    }
}

/// How far the reply to a prompt is. A later server may have further states.
public struct MessageState: RawRepresentable, Sendable, Hashable, Decodable {
    public let rawValue: String

    public init(rawValue: String) {
        self.rawValue = rawValue
    }

    /// The reply is awaited.
    public static let pending = MessageState(rawValue: "pending")
    /// The reply is being written.
    public static let streaming = MessageState(rawValue: "streaming")
    /// The reply is complete.
    public static let done = MessageState(rawValue: "done")
    /// The reply was stopped; its text so far is kept.
    public static let stopped = MessageState(rawValue: "stopped")
    /// The reply failed; the message's `error` says why.
    public static let failed = MessageState(rawValue: "failed")

    /// Whether the reply has not ended yet.
    public var isRunning: Bool { self == .pending || self == .streaming }
}

/// A prompt with its reply.
public struct Message: Sendable, Hashable, Decodable {
    public let id: String
    public let chatID: String
    public let userID: String
    /// The author's present name; nil where the author is gone.
    public let username: String?
    public let groupID: String?
    /// The prompt; nil in a partial frame where the prompt is long.
    public let prompt: String?
    /// The reply so far. In a partial frame it is the new text alone.
    public internal(set) var reply: String
    public let model: String?
    /// Whether the message is off the record: no model gets it, and it has no reply.
    public let otr: Bool
    public internal(set) var state: MessageState
    public let error: ReplyFailure?
    public let usage: Usage?
    public let createdAt: Date?
    public let updatedAt: Date?

    enum CodingKeys: String, CodingKey {
        case id, username, prompt, reply, model, otr, state, error, usage
        case chatID = "chat_id"
        case userID = "user_id"
        case groupID = "group_id"
        case createdAt = "created_at"
        case updatedAt = "updated_at"
    }

    public init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: CodingKeys.self)
        id = try values.decode(String.self, forKey: .id)
        chatID = try values.decode(String.self, forKey: .chatID)
        userID = try values.decode(String.self, forKey: .userID)
        username = try values.decodeIfPresent(String.self, forKey: .username)
        groupID = try values.decodeIfPresent(String.self, forKey: .groupID)
        prompt = try values.decodeIfPresent(String.self, forKey: .prompt)
        reply = try values.decode(String.self, forKey: .reply)
        model = try values.decodeIfPresent(String.self, forKey: .model)
        otr = try values.decodeIfPresent(Bool.self, forKey: .otr) ?? false
        state = try values.decode(MessageState.self, forKey: .state)
        error = try values.decodeIfPresent(ReplyFailure.self, forKey: .error)
        usage = try values.decodeIfPresent(Usage.self, forKey: .usage)
        createdAt = try values.decodeIfPresent(Date.self, forKey: .createdAt)
        updatedAt = try values.decodeIfPresent(Date.self, forKey: .updatedAt)
    }
}

/// The reason why a reply failed.
public struct ReplyFailure: Sendable, Hashable, Decodable {
    public let code: String
    public let message: String
    /// The message of the model's server.
    public let upstreamMessage: String?

    enum CodingKeys: String, CodingKey {
        case code, message
        case upstreamMessage = "upstream_message"
    }
}

/// The tokens of a reply, as far as the model's server counts them.
public struct Usage: Sendable, Hashable, Decodable {
    public let promptTokens: Int?
    public let completionTokens: Int?

    enum CodingKeys: String, CodingKey {
        case promptTokens = "prompt_tokens"
        case completionTokens = "completion_tokens"
    }
}

/// The answer to a prompt.
public struct Reply: Sendable, Hashable, Decodable {
    public let message: Message
    public let reply: String
}

/// A part of a streamed reply.
public struct Delta: Sendable, Hashable {
    /// The new text. The texts of all deltas, joined, are the reply.
    public let text: String
    /// The message so far; its `reply` is the whole text so far.
    public let message: Message
    /// Whether the reply has ended: it is complete, or was stopped, as the message's state says.
    public let done: Bool
}

/// A frame of a watched chat.
public struct Frame: Sendable, Hashable {
    public enum Kind: String, Sendable {
        /// A message, or new text of its reply.
        case message
        /// Frames may be missing: the newest messages follow in their present form, running replies
        /// from their first word.
        case reset
    }

    public let kind: Kind
    /// The place of the frame: `watch(_:after:)` goes on behind it.
    public let id: String
    /// The whole message, or with `partial` the new text of its reply; nil for a reset.
    public let message: Message?
    /// Whether the reply goes on.
    public let partial: Bool
}

/// A group of users.
public struct Group: Sendable, Hashable, Decodable {
    public let id: String
    public let name: String
    public let description: String
    public let ownerID: String
    public let createdAt: Date
    public let updatedAt: Date

    enum CodingKeys: String, CodingKey {
        case id, name, description
        case ownerID = "owner_id"
        case createdAt = "created_at"
        case updatedAt = "updated_at"
    }
}

/// A page of chats, oldest first.
public struct ChatPage: Sendable, Hashable, Decodable {
    public let chats: [Chat]
    public let hasMore: Bool

    enum CodingKeys: String, CodingKey {
        case chats
        case hasMore = "has_more"
    }
}

/// A chat with the users who were added to it and a page of its messages, oldest first.
public struct ChatDetails: Sendable, Hashable, Decodable {
    public let chat: Chat
    public let users: [User]
    public let messages: [Message]
    public let hasMore: Bool

    enum CodingKeys: String, CodingKey {
        case chat, users, messages
        case hasMore = "has_more"
    }
}

/// A page of groups, oldest first.
public struct GroupPage: Sendable, Hashable, Decodable {
    public let groups: [Group]
    public let hasMore: Bool

    enum CodingKeys: String, CodingKey {
        case groups
        case hasMore = "has_more"
    }
}

/// A group with a page of its members.
public struct GroupDetails: Sendable, Hashable, Decodable {
    public let group: Group
    public let members: [User]
    public let hasMore: Bool

    enum CodingKeys: String, CodingKey {
        case group, members
        case hasMore = "has_more"
    }
}

/// A page of users.
public struct UserPage: Sendable, Hashable, Decodable {
    public let users: [User]
    public let hasMore: Bool

    enum CodingKeys: String, CodingKey {
        case users
        case hasMore = "has_more"
    }
}

/// What OpenAI's own client needs to reach the models through the server.
public struct OpenAISettings: Sendable, Hashable {
    public let baseURL: String
    public let apiKey: String
}

extension JSONDecoder {
    /// A decoder of the server's answers, whose times are RFC 3339 with or without milliseconds.
    static func forAnswers() -> JSONDecoder {
        let decoder = JSONDecoder()
        decoder.dateDecodingStrategy = .custom { decoder in
            let container = try decoder.singleValueContainer()
            let text = try container.decode(String.self)
            for hasFraction in [true, false] {
                let style = Date.ISO8601FormatStyle(includingFractionalSeconds: hasFraction)
                if let date = try? style.parse(text) { return date }
            }
            throw DecodingError.dataCorruptedError(
                in: container, debugDescription: "The text is not a time.")
        }
        return decoder
    }
}
