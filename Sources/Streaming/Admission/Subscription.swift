internal import Credentials
internal import Gateway
package import ProxyGPT

/// Where a subscriber wants to go on.
package enum Resumption: Sendable, Equatable {
    /// It begins: with the replies that are running.
    case none
    case after(FrameID)
    /// It names a place that there is not.
    case impossible
}

/// A granted stream: the caller, the chat and the transport.
package final class Subscription: Sendable {
    package let userID: User.ID
    package let sessionID: Session.ID
    let tokenDigest: [UInt8]
    package let chatID: Chat.ID
    /// The chat's group, or the owner of one outside of groups.
    package let holderID: Group.ID
    package let transport: Transport
    package let resumption: Resumption
    /// The answer has a head and no frames.
    package let isHeadOnly: Bool
    /// What the answer's head has beside the transport's own headers.
    package let headers: [Header]
    package let event: Event
    let startedAt: Int64

    package var clientAddress: String { event.clientAddress }
    package var requestID: String { event.requestID }

    init(
        caller: Caller, tokenDigest: [UInt8], chat: Chat, transport: Transport,
        resumption: Resumption, isHeadOnly: Bool, headers: [Header], event: Event, startedAt: Int64
    ) {
        userID = caller.user.id
        sessionID = caller.session.id
        self.tokenDigest = tokenDigest
        chatID = chat.id
        holderID = chat.groupID ?? Group.ID(chat.userID.text)
        self.transport = transport
        self.resumption = resumption
        self.isHeadOnly = isHeadOnly
        self.headers = headers
        self.event = event
        self.startedAt = startedAt
    }

    /// Whether rights that shrank may be this stream's: all that is named fits.
    package func isAffected(by revocation: Revocation) -> Bool {
        (revocation.session ?? sessionID) == sessionID && (revocation.user ?? userID) == userID
            && (revocation.chat ?? chatID) == chatID
            && (revocation.group ?? holderID) == holderID
    }
}
