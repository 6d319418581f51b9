internal import EventLoop
internal import ProxyGPT

/// Which messages of a chat had ended when the store was last read, while the log is away. What ends
/// afterwards is news to all subscribers of the chat.
@EventLoop final class EndedMessages {
    private var known: [Chat.ID: Set<Message.ID>] = [:]

    nonisolated init() {}

    /// Takes note of what a subscriber's history has as ended, unless the chat was read before: what
    /// ended since then is news to somebody else.
    func begin(_ chat: Chat.ID, with messages: [Message]) {
        if known[chat] == nil { known[chat] = Self.ended(messages) }
    }

    /// Takes note of the newest messages, and returns what was known before; nil for nothing.
    func update(_ chat: Chat.ID, with messages: [Message]) -> Set<Message.ID>? {
        known.updateValue(Self.ended(messages), forKey: chat)
    }

    /// Forgets all other chats.
    func keep(_ chats: Set<Chat.ID>) {
        known = known.filter { chats.contains($0.key) }
    }

    func forgetAll() {
        known = [:]
    }

    private static nonisolated func ended(_ messages: [Message]) -> Set<Message.ID> {
        Set(messages.lazy.filter { !$0.state.isRunning }.map(\.id))
    }
}
