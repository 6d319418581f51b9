// The objects that endpoints answer with. Handlers write them around the views of `Views.swift`; the end-to-end
// tests validate every answer against what stands here.

package import Formats
package import ProxyGPT

/// The objects of answers that are more than one noun of the domain.
package enum AnswerSchemas {
    package static let empty = ObjectSchema("Empty", "The success of a call without a result.", [])

    private static let hasMore = MemberSchema(
        "has_more", .boolean, "Whether the list goes on in the direction of the page.", false)

    // MARK: - Users

    static let token = ObjectSchema(
        "LoggedIn", "A new session.",
        [
            MemberSchema("token", .text, "The session's token.", .string(Example.token)),
            MemberSchema("user", Views.ownUser.schema, "The user; without its groups here."),
        ])

    static let session = ObjectSchema(
        "UserAndSession", "The caller and the session of the credential.",
        [
            MemberSchema("user", Views.ownUser.schema, "The caller."),
            MemberSchema("session", Views.session.schema, "The session."),
        ])

    static let users = ObjectSchema(
        "UserPage", "A page of users.",
        [MemberSchema("users", listOf: Views.user.schema, "The users."), hasMore])

    // MARK: - Chats

    static let chats = ObjectSchema(
        "ChatPage", "A page of chats.",
        [MemberSchema("chats", listOf: Views.chat.schema, "The chats."), hasMore])

    static let chatWithUsersAndMessages = ObjectSchema(
        "ChatWithMessages", "A chat, its users and a page of its messages.",
        [
            MemberSchema("chat", Views.chat.schema, "The chat."),
            MemberSchema(
                "users", listOf: Views.user.schema, "The owner and the users who were added."),
            MemberSchema("messages", listOf: Views.message.schema, "The page of messages."),
            hasMore,
        ])

    static let reply = ObjectSchema(
        "Reply", "A message and its reply.",
        [
            MemberSchema("message", Views.message.schema, "The message as it stands."),
            MemberSchema(
                "reply", .text,
                "The message's reply; empty while it is streamed, and off the record.",
                "Spain is a country in Europe."),
        ])

    // MARK: - Groups

    static let groups = ObjectSchema(
        "GroupPage", "A page of groups.",
        [MemberSchema("groups", listOf: Views.group.schema, "The groups."), hasMore])

    static let groupWithMembers = Views.group.schema.named(
        "GroupWithMembers", "A group's own members, the group once more, and a page of its users.",
        adding: [
            MemberSchema("group", Views.group.schema, "The group."),
            MemberSchema("members", listOf: Views.user.schema, "The page of users."), hasMore,
        ])

    // MARK: - Frames of streams

    private static let partialMessage = ObjectSchema(
        "PartialMessage", "A part of a reply.",
        [
            MemberSchema("id", .id, "The message.", .string(Example.message)),
            MemberSchema("chat_id", .id, "The chat.", .string(Example.chat)),
            MemberSchema("user_id", .id, "The author of the prompt.", .string(Example.user)),
            MemberSchema(
                "prompt", .text, isOptional: true,
                "The prompt; a prompt over 1 KiB stands in the first and the last frame alone.",
                "Tell me about Spain."),
            MemberSchema("reply", .text, "The delta: the text to append.", "Spain is "),
            MemberSchema(
                "state", .constant(.string(Message.State.streaming.rawValue)), "Always streaming.",
                .string(Message.State.streaming.rawValue)),
        ])

    package static let partialFrame = ObjectSchema(
        "PartialFrame", "A delta of a running reply.",
        [
            MemberSchema("message", partialMessage, "The part of the message."),
            MemberSchema("partial", .constant(true), "Always true.", true),
        ])

    package static let finalFrame = ObjectSchema(
        "FinalFrame", "A message that has ended, whole.",
        [
            MemberSchema("message", Views.message.schema, "The message."),
            MemberSchema("partial", .constant(false), "Always false.", false),
        ])

    package static let resetFrame = ObjectSchema(
        "ResetFrame",
        "The newest messages follow in their present form; earlier frames may be lost.",
        [MemberSchema("reset", .constant(true), "Always true.", true)])

    private static let eventID = MemberSchema(
        "event_id", .text, "The frame's id, to resume from.", .string(Example.frame))

    /// The frames of a server-sent event, and those of a WebSocket.
    package static let eventFrames = [partialFrame, finalFrame]
    package static let webSocketFrames = [
        partialFrame.named("PartialWebSocketFrame", partialFrame.meaning, adding: [eventID]),
        finalFrame.named("FinalWebSocketFrame", finalFrame.meaning, adding: [eventID]),
        resetFrame,
    ]

    // MARK: - Errors

    private static func error(
        _ name: String, _ meaning: String, code: ValueSchema, _ codeMeaning: String,
        more: [MemberSchema] = []
    ) -> ObjectSchema {
        ObjectSchema(
            name, meaning,
            [
                MemberSchema(
                    "message", .text, "A sentence for people.",
                    "The parameter prompt is missing."),
                MemberSchema(
                    "type", .choice(Failure.Code.types), "A kind, in OpenAI's vocabulary.",
                    .string(Failure.Code.invalidRequest.type)),
                MemberSchema(
                    "param", .nullable(.text), "The parameter that is wrong, where one is.",
                    "prompt"),
                MemberSchema(
                    "code", code, codeMeaning, .string(Failure.Code.invalidRequest.rawValue)),
            ] + more)
    }

    private static let upstreamMessage = MemberSchema(
        "upstream_message", .text, isOptional: true,
        "What the upstream says, masked, of up to 1,000 bytes.", "Rate limit reached for requests")

    /// A failure of this server.
    package static let failure = ObjectSchema(
        "Error", "Why a call failed.",
        [
            MemberSchema(
                "error",
                error(
                    "ErrorBody", "The error.",
                    code: .choice(Failure.Code.allCases.map(\.rawValue)),
                    "The error, for programs.",
                    more: [upstreamMessage]), "The error.")
        ])

    /// A failure that may be the upstream's refusal, with the upstream's own code.
    package static let refusal = ObjectSchema(
        "UpstreamError", "Why a prompt failed, here or at the upstream.",
        [
            MemberSchema(
                "error",
                error(
                    "UpstreamErrorBody", "The error.", code: .text,
                    "The error, for programs: the upstream's own where it has one.",
                    more: [upstreamMessage]), "The error.")
        ])
}

extension Failure.Code {
    /// All types of errors, each once.
    fileprivate static let types = allCases.reduce(into: [String]()) { types, code in
        if !types.contains(where: { $0.hasSameBytes(as: code.type) }) { types.append(code.type) }
    }
}

extension Endpoint.Answer {
    /// The objects that an answer may be; none for frames.
    package var schemas: [ObjectSchema] {
        switch self {
        case .nothing: [AnswerSchemas.empty]
        case .chat: [Views.chat.schema]
        case .chatWithUsersAndMessages: [AnswerSchemas.chatWithUsersAndMessages]
        case .chats: [AnswerSchemas.chats]
        case .reply: [AnswerSchemas.reply]
        case .group: [Views.group.schema]
        case .groupWithMembers: [AnswerSchemas.groupWithMembers]
        case .groups: [AnswerSchemas.groups]
        case .ownUser: [Views.ownUser.schema]
        case .user: [Views.ownUser.schema, Views.user.schema]
        case .users: [AnswerSchemas.users]
        case .session: [AnswerSchemas.session]
        case .token: [AnswerSchemas.token]
        case .stream: []
        }
    }
}
