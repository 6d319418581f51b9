/// Tells the streamers whose rights may have shrunk.
package protocol RevocationStore: Sendable {
    /// The number of the last revocation; 0 before the first.
    func lastRevocation() async throws -> Int64

    /// The revocations after `number` in their order, at most `limit`, each with its number. No
    /// later call returns a number below a returned one.
    func revocations(
        after number: Int64, limit: Int
    ) async throws -> [(number: Int64, revocation: Revocation)]
}

/// Names users and chats whose rights may have shrunk. The rights of open streams that match all
/// named fields are checked again.
package struct Revocation: Sendable, Equatable {
    package var session: Session.ID?
    package var user: User.ID?
    package var chat: Chat.ID?
    /// The group whose chats are concerned, or the owner of chats outside of groups.
    package var group: Group.ID?

    package init(
        session: Session.ID? = nil, user: User.ID? = nil, chat: Chat.ID? = nil,
        group: Group.ID? = nil
    ) {
        self.session = session
        self.user = user
        self.chat = chat
        self.group = group
    }

    /// A revocation for all users of the chats that a user owns outside of groups.
    package init(holder: User.ID) {
        self.init(group: Group.ID(holder.text))
    }
}
