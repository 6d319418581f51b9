internal import Gateway
internal import ProxyGPT

/// Finds out for many subscriptions whether one of many revocations concerns them.
struct RevocationIndex {
    private var ofSession: [Session.ID: [Revocation]] = [:]
    private var ofUser: [User.ID: [Revocation]] = [:]
    private var ofChat: [Chat.ID: [Revocation]] = [:]
    private var ofGroup: [Group.ID: [Revocation]] = [:]

    init(_ revocations: [Revocation]) {
        for revocation in revocations {
            // Indexed by one thing that it names; a revocation that names nothing concerns no subscriber.
            if let session = revocation.session {
                ofSession[session, default: []].append(revocation)
            } else if let user = revocation.user {
                ofUser[user, default: []].append(revocation)
            } else if let chat = revocation.chat {
                ofChat[chat, default: []].append(revocation)
            } else if let group = revocation.group {
                ofGroup[group, default: []].append(revocation)
            }
        }
    }

    func concerns(_ subscription: Subscription) -> Bool {
        let found = [
            ofSession[subscription.sessionID], ofUser[subscription.userID],
            ofChat[subscription.chatID], ofGroup[subscription.holderID],
        ]
        return found.contains { $0?.contains(where: subscription.isAffected) == true }
    }
}
