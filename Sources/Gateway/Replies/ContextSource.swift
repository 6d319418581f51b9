package import ProxyGPT

/// Finds the context window of a chat: in the cache where it is up to date, else from
/// the store.
package struct ContextSource: Sendable {
    let store: any MessageStore
    let cache: any ContextCache
    /// Tokens that all turns together may take.
    let budget: Int

    /// Messages read at once; few chats have as many within the budget.
    private static let batch = 100

    /// The newest `limit` messages before `message` as turns, oldest first.
    /// - Parameter version: the chat's context version when the message was stored.
    package func turns(
        before message: Message, limit: Int, version: Int64
    ) async throws -> [Turn] {
        guard limit > 0 else { return [] }
        if let window = await cache.window(of: message.chatID), window.version == version,
            window.covers(limit)
        {
            return window.turns(limit)
        }
        let window = try await read(before: message, limit: limit)
        // Others may have ended since: the window then leaves out what came behind the message.
        if window.version == version { await cache.keep(window, of: message.chatID) }
        return window.turns(limit)
    }

    /// Reads no further back than the budget reaches.
    private func read(before message: Message, limit: Int) async throws -> ContextWindow {
        var messages: [Message] = []
        var seq = message.seq
        while true {
            let wanted = min(Self.batch, limit - messages.count)
            let (batch, version) = try await store.context(
                of: message.chatID, below: seq, limit: wanted)
            messages += batch
            seq = batch.last?.seq ?? seq
            let isLast = batch.count < wanted || messages.count >= limit
            let window = ContextWindow(
                version: version, newestFirst: messages, limit: isLast ? limit : messages.count,
                budget: budget)
            if isLast || window.isExhausted { return window }
        }
    }

    /// Takes over a message that has ended, which made the context `version`; where nobody knows, the
    /// store is asked the next time.
    package func note(_ message: Message, version: Int64?) async {
        guard let version, let window = await cache.window(of: message.chatID),
            let grown = window.adding(message, version: version)
        else { return }
        await cache.keep(grown, of: message.chatID)
    }
}
