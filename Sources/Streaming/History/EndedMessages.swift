internal import EventLoop
internal import ProxyGPT

/// How far the store has been read of each chat while the log is away. What ends afterwards is news to
/// all subscribers of the chat.
@EventLoop final class EndedMessages {
    /// What was read of a chat.
    struct Reading: Equatable {
        /// The place of the newest message; 0 for none.
        var newest: Int64 = 0
        /// Messages up to there that had not ended.
        var running: Set<Message.ID> = []

        /// The newest messages of a chat, in order.
        init(_ messages: [Message]) {
            for message in messages { take(message) }
        }

        /// Whether the end of a message is news.
        func isNews(_ message: Message) -> Bool {
            !message.state.isRunning
                && (message.seq > newest || running.contains(message.id))
        }

        mutating func take(_ message: Message) {
            newest = max(newest, message.seq)
            if message.state.isRunning {
                running.insert(message.id)
            } else {
                running.remove(message.id)
            }
        }
    }

    private var readings: [Chat.ID: Reading] = [:]

    nonisolated init() {}

    /// What is known of a chat; nil for nothing.
    func reading(of chat: Chat.ID) -> Reading? { readings[chat] }

    /// Takes note of what a subscriber's history was read from. Where others have read further
    /// meanwhile, the next poll begins where this reading stands: what ended between is news to the subscriber.
    func begin(_ chat: Chat.ID, with messages: [Message]) {
        let new = Reading(messages)
        guard let known = readings[chat] else {
            readings[chat] = new
            return
        }
        readings[chat]?.newest = min(known.newest, new.newest)
        readings[chat]?.running.formUnion(new.running)
    }

    func update(_ chat: Chat.ID, to reading: Reading) {
        readings[chat] = reading
    }

    /// Forgets all other chats.
    func keep(_ chats: Set<Chat.ID>) {
        readings = readings.filter { chats.contains($0.key) }
    }

    func forgetAll() {
        readings = [:]
    }
}
