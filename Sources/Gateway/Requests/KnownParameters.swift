package import ProxyGPT

/// All parameters of our own endpoints: those of the same name and meaning stand here once.
package enum Known {
    // MARK: - What is meant

    package static let chat = Parameter<Chat.ID>.id(
        "id", "chat_id", of: "chat", "The chat.")
    package static let group = Parameter<Group.ID>.id(
        "id", "group_id", of: "group", "The group.")
    package static let inGroup = Parameter<Group.ID>.id(
        "group_id", of: "group", "The group that the chat belongs to. Default: none.")
    package static let ofGroup = Parameter<Group.ID>.id(
        "group_id", of: "group", "Lists the chats of this group alone.")
    package static let message = Parameter<Message.ID>.id(
        "message_id", of: "message", "The message whose reply is to end.")
    package static let user = Parameter<UserReference>.user(
        "user_id", "username", meaning: "A user, by id or name.")
    package static let users = Parameter<[UserReference]>.users(
        "user_ids", limit: 1000, "Users, by id or name.")
    package static let readUserID = Parameter<User.ID>.id(
        "id", of: "user", "The user. Default: the caller.")
    package static let readUsername = Parameter<UserReference>.user(
        "username", meaning: "The user, by name. Default: the caller.")

    // MARK: - Chats and groups

    package static let chatName = Parameter<String>.line(
        "name", characters: Group.nameLimit,
        "What the chat is called. Default: \(Chat.defaultName).")
    package static let groupName = Parameter<String>.line(
        "name", characters: Group.nameLimit, "What the group is called.")
    package static let description = Parameter<String>.text(
        "description", bytes: 4 * Group.descriptionLimit, characters: Group.descriptionLimit,
        meaning: "What the group is for. Default: empty."
    ) { text, name throws(Failure) in
        guard text.utf8.count <= 4 * Group.descriptionLimit,
            text.unicodeScalars.count <= Group.descriptionLimit
        else {
            throw .invalid(name, "A description has at most \(Group.descriptionLimit) characters.")
        }
    }
    package static let owner = Parameter<UserReference>.user(
        "owner_id", meaning: "The member who owns the group from now on, by id or name.")
    package static let model = Parameter<String>.line(
        "model", characters: Event.Limit.model, bytes: Event.Limit.model,
        "The model that answers in the chat. Default: DEFAULT_MODEL.")

    // MARK: - Prompts

    package static let prompt = Parameter<String>.text(
        "prompt", bytes: Message.promptLimit, meaning: "What the model is to answer; not empty."
    ) { text, name throws(Failure) in
        guard !text.isEmpty else { throw .invalid(name, "A prompt must not be empty.") }
        guard text.utf8.count <= Message.promptLimit else {
            throw Failure(
                .tooLarge, "A prompt has at most \(Message.promptLimit) bytes.", parameter: name)
        }
    }
    package static let context = Parameter<Int>.integer(
        "context", 0...ContextWindow.greatestLimit,
        "How many earlier messages the model is told. Default: CONTEXT_MESSAGES.")
    package static let stream = Parameter<Bool>.boolean(
        "stream", "Answers at once; the reply reaches the chat's subscribers. Default: false.")
    package static let offRecord = Parameter<Bool>.boolean(
        "otr", "Stores a note that no model is told and that gets no reply. Default: false.")

    // MARK: - Pages of lists

    package static let limit = Parameter<Int>.integer(
        "limit", 1...Page.greatestLimit,
        "How many elements the page has at most. Default: \(Page.defaultLimit).")
    package static let before = Parameter<String>.anchor(
        "before", "The page ends before the element with this id.")
    package static let after = Parameter<String>.anchor(
        "after", "The page begins after the element with this id; not together with before.")
    package static let page: [any SpecifiedParameter] = [limit, before, after]

    // MARK: - Users and credentials

    package static let username = Parameter<Username>.username("username", "A name that is free.")
    package static let loginName = Parameter<String>.text(
        "username", bytes: Username.limit, meaning: "The user's name.")
    package static let password = Parameter<String>.password("password", "The user's password.")
    package static let oldPassword = Parameter<String>.password(
        "old_password", "The password until now.")
    package static let newPassword = Parameter<String>.password(
        "new_password", "The password from now on, of at least PASSWORD_MINIMUM bytes.")
    package static let firstName = Parameter<String>.personalName("first_name", "A first name.")
    package static let lastName = Parameter<String>.personalName("last_name", "A last name.")
    package static let token = Parameter<String>.text(
        "token", meaning: "The token of a session, where no header carries it.")

    // MARK: - Streams

    /// `lastEventId` is what libraries for server-sent events add.
    package static let lastEventID = Parameter<String>.text(
        "last_event_id", "lastEventId",
        meaning:
            "The id of the last frame that was received; the header Last-Event-ID goes before it.")
}

extension Parameter where Value == String {
    fileprivate static func password(_ name: String, _ meaning: String) -> Self {
        text(name, bytes: User.passwordLimit, meaning: meaning) { text, name throws(Failure) in
            guard text.utf8.count <= User.passwordLimit else {
                throw .invalid(name, "A password has at most \(User.passwordLimit) bytes.")
            }
        }
    }

    fileprivate static func personalName(_ name: String, _ meaning: String) -> Self {
        text(name, bytes: User.personalNameLimit, meaning: meaning) { text, name throws(Failure) in
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
