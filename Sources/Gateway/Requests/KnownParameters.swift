internal import Formats
package import ProxyGPT

/// All parameters of our own endpoints: those of the same name and meaning stand here once.
package enum Known {
    // MARK: - What is meant

    package static let chat = Parameter<Chat.ID>.id(
        "id", "chat_id", of: "chat", .init("The chat.", example: .string(Example.chat)))
    package static let group = Parameter<Group.ID>.id(
        "id", "group_id", of: "group", .init("The group.", example: .string(Example.group)))
    package static let inGroup = Parameter<Group.ID>.id(
        "group_id", of: "group",
        .init(
            "The group that the chat belongs to.", example: .string(Example.group),
            default: .described("none")))
    package static let ofGroup = Parameter<Group.ID>.id(
        "group_id", of: "group",
        .init(
            "Lists the chats of this group alone.", example: .string(Example.group),
            default: .described("all chats that the caller may read")))
    package static let message = Parameter<Message.ID>.id(
        "message_id", of: "message",
        .init("The message whose reply is to end.", example: .string(Example.message)))
    package static let user = Parameter<UserReference>.user(
        "user_id", "username",
        notes: .init("A user, by id or name.", example: .string(Example.otherUser)))
    package static let users = Parameter<[UserReference]>.users(
        "user_ids", limit: 1000,
        .init("Users, by id or name.", example: [.string(Example.otherUser)]))
    package static let readUserID = Parameter<User.ID>.id(
        "id", of: "user",
        .init(
            "The user, by id.", example: .string(Example.otherUser),
            default: .described("the caller")))
    package static let readUsername = Parameter<UserReference>.user(
        "username",
        notes: .init("The user, by name.", example: "mara", default: .described("the caller")))

    // MARK: - Chats and groups

    package static let chatName = Parameter<String>.line(
        "name", characters: Group.nameLimit,
        .init(
            "The chat's name.", example: "Trip to Spain",
            default: .value(.string(Chat.defaultName))))
    package static let groupName = Parameter<String>.line(
        "name", characters: Group.nameLimit, .init("The group's name.", example: "Travellers"))
    package static let description = Parameter<String>.text(
        "description", bytes: 4 * Group.descriptionLimit, characters: Group.descriptionLimit,
        notes: .init("What the group is for.", example: "Our trips", default: .value(""))
    ) { text, name throws(Failure) in
        guard text.utf8.count <= 4 * Group.descriptionLimit,
            text.unicodeScalars.count <= Group.descriptionLimit
        else {
            throw .invalid(name, "A description has at most \(Group.descriptionLimit) characters.")
        }
    }
    package static let owner = Parameter<UserReference>.user(
        "owner_id",
        notes: .init(
            "The member who owns the group from now on, by id or name.",
            example: .string(Example.otherUser)))
    package static let model = Parameter<String>.line(
        "model", characters: Event.Limit.model, bytes: Event.Limit.model,
        .init(
            "The model that answers in the chat.", example: "gpt-4",
            default: .described("the setting DEFAULT_MODEL")))

    // MARK: - Prompts

    package static let prompt = Parameter<String>.text(
        "prompt", bytes: Message.promptLimit,
        notes: .init("What the model is to answer; not empty.", example: "Tell me about Spain.")
    ) { text, name throws(Failure) in
        guard !text.isEmpty else { throw .invalid(name, "A prompt must not be empty.") }
        guard text.utf8.count <= Message.promptLimit else {
            throw Failure(
                .tooLarge, "A prompt has at most \(Message.promptLimit) bytes.", parameter: name)
        }
    }
    package static let context = Parameter<Int>.integer(
        "context", 0...ContextWindow.greatestLimit,
        .init(
            "How many earlier messages go upstream with the prompt.", example: 10,
            default: .described("the setting CONTEXT_MESSAGES")))
    package static let stream = Parameter<Bool>.boolean(
        "stream",
        .init(
            "Answers at once; the reply goes to the chat's subscribers.", example: true,
            default: .value(false)))
    package static let offRecord = Parameter<Bool>.boolean(
        "otr",
        .init(
            "Stores the prompt off the record: it goes to no model and gets no reply.",
            example: false, default: .value(false)))

    // MARK: - Pages of lists

    package static let limit = Parameter<Int>.integer(
        "limit", 1...Page.greatestLimit,
        .init(
            "The most elements of the page.", example: 20,
            default: .value(.integer(Page.defaultLimit))))
    package static let before = Parameter<String>.anchor(
        "before",
        .init(
            "The page ends before the element with this id.", example: .string(Example.message),
            default: .described("the newest elements")))
    package static let after = Parameter<String>.anchor(
        "after",
        .init(
            "The page begins after the element with this id; not together with before.",
            example: .string(Example.message), default: .described("the newest elements")))
    package static let page: [any SpecifiedParameter] = [limit, before, after]

    // MARK: - Users and credentials

    package static let username = Parameter<Username>.username(
        "username", .init("A name that no user has.", example: "asim"))
    package static let loginName = Parameter<String>.text(
        "username", bytes: Username.limit, notes: .init("The user's name.", example: "asim"))
    package static let password = Parameter<String>.password(
        "password", .init("The user's password.", example: "correct horse battery"))
    package static let oldPassword = Parameter<String>.password(
        "old_password", .init("The password until now.", example: "correct horse battery"))
    package static let newPassword = Parameter<String>.password(
        "new_password",
        .init(
            "The password from now on, of at least PASSWORD_MIN bytes.",
            example: "battery staple correct"))
    package static let firstName = Parameter<String>.personalName(
        "first_name", .init("The first name.", example: "Asim", default: .value("")))
    package static let lastName = Parameter<String>.personalName(
        "last_name", .init("The last name.", example: "Aslam", default: .value("")))
    package static let token = Parameter<String>.text(
        "token",
        notes: .init(
            "The token of a session, where no header carries it.",
            example: .string(Example.token), default: .described("the credential in the headers")))

    // MARK: - Streams

    /// `lastEventId` is what libraries for server-sent events add.
    package static let lastEventID = Parameter<String>.text(
        "last_event_id", "lastEventId",
        notes: .init(
            "The id of the last frame that was received; the header Last-Event-ID goes before it.",
            example: .string(Example.frame), default: .described("the running replies")))
}

extension Parameter where Value == String {
    fileprivate static func password(_ name: String, _ notes: ParameterNotes) -> Self {
        text(name, bytes: User.passwordLimit, notes: notes) { text, name throws(Failure) in
            guard text.utf8.count <= User.passwordLimit else {
                throw .invalid(name, "A password has at most \(User.passwordLimit) bytes.")
            }
        }
    }

    fileprivate static func personalName(_ name: String, _ notes: ParameterNotes) -> Self {
        text(name, bytes: User.personalNameLimit, notes: notes) { text, name throws(Failure) in
            try User.checkPersonalName(text, parameter: name)
        }
    }
}

extension Parameters {
    /// Which part of a list is wanted.
    package func page() throws(Failure) -> Page {
        let limit = try value(of: Known.limit) ?? Page.defaultLimit
        switch (try value(of: Known.before), try value(of: Known.after)) {
        case (nil, nil): return Page(limit: limit)
        case (let id?, nil): return Page(limit: limit, place: .before(id))
        case (nil, let id?): return Page(limit: limit, place: .after(id))
        default: throw .invalid("before", "Give before or after, not both.")
        }
    }
}
