/// The database as the operator's commands use it. There are no rights here: a process that can
/// open the database may do everything.
///
/// Methods that change rows take the event of the command and commit it with the change.
package protocol AdminStore: Sendable {
    /// Users in the order of their ids, after `user`.
    func accounts(after user: User.ID?, limit: Int, now: Timestamp) async throws -> [Account]

    func account(_ user: UserReference, now: Timestamp) async throws -> Account?

    /// Adds a user without a session. Throws `conflict` when another user has the folded name.
    func create(_ new: NewUser, _ event: Event) async throws

    /// Replaces the password and ends all sessions, whose number it returns.
    func resetPassword(of id: User.ID, to hash: String, _ event: Event) async throws -> Int

    /// Disables an account, and ends its sessions and running replies, or enables it. False when
    /// nothing changed.
    func setDisabled(_ id: User.ID, _ isDisabled: Bool, _ event: Event) async throws -> Bool

    /// The data that is removed with the user.
    func ownedData(of id: User.ID) async throws -> OwnedData

    /// Removes a user with all that it owns. Its groups are removed with their chats, unless
    /// `newOwner` is given and becomes their member and owner. Its chats in groups of others go to
    /// those groups' owners, and its messages in chats of others stay.
    func deleteUser(
        _ id: User.ID, handingGroupsTo newOwner: User.ID?, _ event: Event
    ) async throws -> OwnedData

    /// Removes some rows of deleted chats, groups and users; false when none are left.
    func sweepDeletions() async throws -> Bool

    /// The time by the database's clock; `now` where the database uses this host's clock.
    func currentTime(_ now: Timestamp) async throws -> Timestamp

    /// Marks messages whose chat was removed without a mark. Each step reads some chats from
    /// `start` on. Returns the number of marked chats, and the start of the next step.
    func markOrphans(from start: String) async throws -> (chats: Int, rest: String?)

    /// Open sessions in the order of their ids, after `session`.
    func openSessions(
        of user: User.ID?, after session: Session.ID?, limit: Int, now: Timestamp
    ) async throws -> [OpenSession]

    /// Ends one session; false when it is not open.
    func endSession(_ id: Session.ID, _ event: Event) async throws -> Bool

    /// Ends all sessions of a user and returns how many.
    func endSessions(of user: User.ID, _ event: Event) async throws -> Int

    /// The newest chats, newest first; of one owner, of one group, before one of them.
    func chats(
        of user: User.ID?, in group: Group.ID?, before chat: Chat.ID?, limit: Int
    ) async throws -> [ChatSummary]

    func chat(_ id: Chat.ID) async throws -> Chat?

    /// The sequence numbers of the newest messages of a chat, or of the newest before a message:
    /// from the oldest one to one behind the newest. Throws `invalid` where there is no such
    /// message.
    func newestMessages(
        of chat: Chat.ID, before message: Message.ID?, count: Int
    ) async throws -> Range<Int64>

    /// The first messages of a chat with these sequence numbers; empty where there are none.
    func messages(of chat: Chat.ID, in range: Range<Int64>) async throws -> [Message]

    /// A batch of events, and the scan of the rest.
    func events(_ scan: EventScan) async throws -> EventPage

    /// The events with these ids; removed ones are missing.
    func events(ids: [String]) async throws -> [EventRecord]

    /// Ids of the events from `start` on, and whether each has ended; at most `limit`.
    func eventIDs(from start: String, limit: Int) async throws -> [(id: String, hasEnded: Bool)]

    /// Calls and tokens of one batch of events, and the scan of the rest.
    func usage(_ scan: EventScan) async throws -> UsagePage

    /// Usage of folded days, in the order of day, user and model, after a key; empty at the end.
    func usage(
        ofDays days: Range<Int64>, after key: UsageKey?
    ) async throws -> [(key: UsageKey, count: UsageCount)]

    /// The ids up to which events are folded and removed.
    func usageProgress() async throws -> UsageProgress

    /// Removes events in the order of their ids, from `start` on and before `end`, at most `limit` of
    /// them, in one transaction; none of a day whose usage is not folded yet.
    func removeEvents(
        from start: String, before end: String, limit: Int
    ) async throws -> EventRemoval

    /// The names of users by their ids; deleted users are missing.
    func usernames(_ ids: [User.ID]) async throws -> [User.ID: String]

    /// Writes an event without another change.
    func record(_ event: Event) async throws
}

/// A user with the fields that only the operator sees.
package struct Account: Sendable, Equatable {
    package let user: User
    package let disabledAt: Timestamp?
    /// At most `mostSessions`.
    package let openSessions: Int64
    package static let mostSessions: Int64 = 1000
    /// The last use of any open session, to the hour.
    package let lastUsedAt: Timestamp?

    package init(user: User, disabledAt: Timestamp?, openSessions: Int64, lastUsedAt: Timestamp?) {
        self.user = user
        self.disabledAt = disabledAt
        self.openSessions = openSessions
        self.lastUsedAt = lastUsedAt
    }
}

/// One step of removing events.
package struct EventRemoval: Sendable, Equatable {
    package let count: Int
    /// The start of the next step; nil at the end.
    package let rest: String?

    package init(count: Int, rest: String?) {
        self.count = count
        self.rest = rest
    }
}

/// The numbers of things that a user owns.
package struct OwnedData: Sendable, Equatable {
    /// Chats that the user owns outside of groups.
    package var chats: Int64 = 0
    package var groups: Int64 = 0
    package var chatsOfGroups: Int64 = 0
    package var sessions: Int64 = 0

    package init(
        chats: Int64 = 0, groups: Int64 = 0, chatsOfGroups: Int64 = 0, sessions: Int64 = 0
    ) {
        self.chats = chats
        self.groups = groups
        self.chatsOfGroups = chatsOfGroups
        self.sessions = sessions
    }
}

/// A session with its user's name.
package struct OpenSession: Sendable, Equatable {
    package let session: Session
    package let username: String

    package init(session: Session, username: String) {
        self.session = session
        self.username = username
    }
}

/// A chat with its owner's name and the number of messages that it has had.
package struct ChatSummary: Sendable, Equatable {
    package let chat: Chat
    package let username: String
    package let groupName: String?
    package let messages: Int64

    package init(chat: Chat, username: String, groupName: String?, messages: Int64) {
        self.chat = chat
        self.username = username
        self.groupName = groupName
        self.messages = messages
    }
}
