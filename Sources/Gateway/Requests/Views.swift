// What callers get to see of the domain: the one place where its fields become JSON.

package import Formats
package import ProxyGPT

extension JSONValue {
    static func time(_ moment: Timestamp) -> JSONValue {
        .string(moment.description)
    }

    /// An id, or null for nil.
    package static func id<Entity>(_ id: Identifier<Entity>?) -> JSONValue {
        .text(id?.text)
    }

    static func number(_ value: Int64?) -> JSONValue {
        value.map { .integer($0) } ?? .null
    }
}

/// A user with what only the user itself may know.
package struct OwnUser: Sendable {
    fileprivate let user: User
    /// Ids of groups.
    fileprivate let groups: [String]
}

/// The objects that answers are made of.
package enum Views {
    private static let publicMembers: [View<User>.Member] = [
        .init("id", .id, "The user's id.", .string(Example.user)) { .id($0.id) },
        .init("username", .text, "The name, unique without regard to case.", "asim") {
            .string($0.username)
        },
        .init("first_name", .text, "The first name; may be empty.", "Asim") {
            .string($0.firstName)
        },
        .init("last_name", .text, "The last name; may be empty.", "") { .string($0.lastName) },
    ]

    package static let user = View<User>("User", "A user as others see it.", publicMembers)

    private static let ownMembers: [View<OwnUser>.Member] = [
        .init("role", .choice(User.Role.allCases.map(\.rawValue)), "The user's role.", "user") {
            .string($0.user.role.rawValue)
        },
        .init("created_at", .time, "When the user signed up.", .string(Example.created)) {
            .time($0.user.createdAt)
        },
        .init("updated_at", .time, "When the user last changed.", .string(Example.updated)) {
            .time($0.user.updatedAt)
        },
        .init(
            "groups", .list(.id), "The ids of the groups that the user is a member of.",
            .array([.string(Example.group)])
        ) { .array($0.groups.map { .string($0) }) },
    ]

    package static let ownUser = View<OwnUser>(
        "OwnUser", "A user as the user itself sees it.",
        publicMembers.map { member in member.inside { $0.user } } + ownMembers)

    package static let session = View<Session>(
        "Session", "A login.",
        [
            .init("id", .id, "The session's id, which is not its token.", .string(Example.session))
            { .id($0.id) },
            .init("created_at", .time, "When it began.", .string(Example.created)) {
                .time($0.createdAt)
            },
            .init(
                "last_used_at", .time, "When it was last used, up to an hour old.",
                .string(Example.updated)
            ) { .time($0.lastUsedAt) },
            .init(
                "expires_at", .time, "When it ends unless it is used before.",
                .string(Example.expires)
            ) { .time($0.expiresAt) },
        ])

    package static let chat = View<Chat>(
        "Chat", "A conversation with a model.",
        [
            .init("id", .id, "The chat's id.", .string(Example.chat)) { .id($0.id) },
            .init("name", .text, "The chat's name.", "Trip to Spain") { .string($0.name) },
            .init("model", .text, "The model that answers, as it was named.", "gpt-4") {
                .string($0.model)
            },
            .init("user_id", .id, "The user who made the chat.", .string(Example.user)) {
                .id($0.userID)
            },
            .init(
                "group_id", .nullable(.id), "The group that the chat belongs to; null for none.",
                .null
            ) { .id($0.groupID) },
            .init("created_at", .time, "When the chat was made.", .string(Example.created)) {
                .time($0.createdAt)
            },
            .init("updated_at", .time, "When the chat last changed.", .string(Example.updated)) {
                .time($0.updatedAt)
            },
        ])

    package static let group = View<Group>(
        "Group", "Users who share chats.",
        [
            .init("id", .id, "The group's id.", .string(Example.group)) { .id($0.id) },
            .init("name", .text, "The group's name.", "Travellers") { .string($0.name) },
            .init("description", .text, "What the group is for; may be empty.", "Our trips") {
                .string($0.description)
            },
            .init("owner_id", .id, "The member who owns the group.", .string(Example.user)) {
                .id($0.ownerID)
            },
            .init("created_at", .time, "When the group was made.", .string(Example.created)) {
                .time($0.createdAt)
            },
            .init("updated_at", .time, "When the group last changed.", .string(Example.updated)) {
                .time($0.updatedAt)
            },
        ])

    static let replyFailure = View<ReplyFailure>(
        "ReplyFailure", "Why a message has no reply, or an incomplete one.",
        [
            .init(
                "code", .text, "A code of errors, or the upstream's own.", "upstream_error"
            ) { .string($0.failure.codeText) },
            .init(
                "message", .text, "A sentence for people.",
                "The upstream does not answer. Try again later."
            ) { .string($0.message) },
            .init(
                "upstream_message", .text, isOptional: true, "What the upstream says, masked.",
                "Rate limit reached for requests"
            ) { $0.upstream?.message.map { .string($0) } },
        ])

    static let usage = View<Usage>(
        "Usage", "The tokens of a reply, as the upstream counts them.",
        [
            .init("prompt_tokens", .nullable(.integer), "Tokens that went up.", 12) {
                .number($0.promptTokens)
            },
            .init("completion_tokens", .nullable(.integer), "Tokens that came back.", 48) {
                .number($0.completionTokens)
            },
        ])

    package static let message = View<Message>(
        "Message", "A prompt and its reply.",
        [
            .init("id", .id, "The message's id.", .string(Example.message)) { .id($0.id) },
            .init("chat_id", .id, "The chat.", .string(Example.chat)) { .id($0.chatID) },
            .init("user_id", .id, "The author of the prompt.", .string(Example.user)) {
                .id($0.userID)
            },
            .init(
                "username", .nullable(.text),
                "The author's present name; null when the user is gone.", "asim"
            ) { .text($0.username) },
            .init(
                "group_id", .nullable(.id), "The group that the chat belongs to; null for none.",
                .null
            ) { .id($0.groupID) },
            .init("prompt", .text, "The prompt.", "Tell me about Spain.") {
                .string($0.prompt)
            },
            .init(
                "reply", .text, "The reply so far; whole once the state says so.",
                "Spain is a country in Europe."
            ) { .string($0.reply) },
            .init("model", .text, "The upstream's name of the model.", "gpt-4") {
                .string($0.model)
            },
            .init("otr", .boolean, "Whether the message is off the record.", false) {
                .boolean($0.isOffRecord)
            },
            .init(
                "state", .choice(Message.State.allCases.map(\.rawValue)),
                "While it is pending or streaming, the reply is awaited.", "done"
            ) { .string($0.state.rawValue) },
            .init(
                "error", .nullable(.object(replyFailure.schema)),
                "Why the message failed; null unless it did.", .null
            ) { $0.failure.map(replyFailure.json(of:)) ?? .null },
            .init(
                "usage", .nullable(.object(usage.schema)), "The tokens; null while unknown.",
                usage.schema.example
            ) { $0.usage.map(usage.json(of:)) ?? .null },
            .init("created_at", .time, "When the prompt came.", .string(Example.created)) {
                .time($0.createdAt)
            },
            .init("updated_at", .time, "When the message last changed.", .string(Example.updated)) {
                .time($0.updatedAt)
            },
        ])
}

extension User {
    /// What others may know.
    package var publicView: JSONValue { Views.user.json(of: self) }

    /// What the user itself may know.
    package func fullView(groups: [String]?) -> JSONValue {
        Views.ownUser.json(of: OwnUser(user: self, groups: groups ?? []))
    }
}

extension Session {
    package var view: JSONValue { Views.session.json(of: self) }
}

extension Chat {
    package var view: JSONValue { Views.chat.json(of: self) }
}

extension Group {
    package var members: [(name: String, value: JSONValue)] { Views.group.members(of: self) }

    package var view: JSONValue { Views.group.json(of: self) }
}

extension Message {
    /// The whole message, as endpoints and last frames show it.
    package var view: JSONValue { Views.message.json(of: self) }
}
