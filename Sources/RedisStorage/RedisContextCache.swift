internal import EventLoop
internal import Logging
internal import ProxyGPT

/// Context windows in Redis, where all processes of all hosts find them.
///
/// There is no second level in memory: what it would save is a fraction of a millisecond of a prompt
/// that takes seconds, and only for chats whose prompts come to one process by chance.
@EventLoop final class RedisContextCache: ContextCache {
    /// Seconds that a window stays without being kept anew.
    nonisolated static let lifetime = 86_400
    /// Bytes of the largest window that is kept.
    nonisolated static let sizeLimit = 1024 * 1024

    private let client: RedisClient
    private let prefix: String
    private let budget: Int

    /// - Parameter budget: the token budget of this process's windows. Those of another one say
    ///   otherwise how far back a model is told, and are kept apart.
    nonisolated init(_ client: RedisClient, prefix: String, budget: Int) {
        self.client = client
        self.prefix = prefix
        self.budget = budget
    }

    @EventLoop func window(of chat: Chat.ID) async -> ContextWindow? {
        guard
            let bytes = try? await client.ask([Array("GET".utf8), Array(key(of: chat).utf8)]).bytes,
            let end = bytes.firstIndex(of: 0x0A)
        else { return nil }
        return ContextWindow(encoded: bytes[(end + 1)...]).flatMap {
            $0.budget == budget ? $0 : nil
        }
    }

    /// Returns when the window is on its way: a later question from here finds it.
    @EventLoop func keep(_ window: ContextWindow, of chat: Chat.ID) async {
        guard window.budget == budget, window.size <= Self.sizeLimit else { return }
        let head = "\(window.version) \(window.entries.count)"
        client.run(
            .keep, keys: [key(of: chat)],
            [
                Array("\(window.version)".utf8), Array("\(window.entries.count)".utf8),
                Array((head + "\n").utf8) + window.encoded, Array("\(Self.lifetime)".utf8),
            ]
        ) { _ in }
    }

    /// Returns when the command is on its way. A window that another process keeps just then goes
    /// when its lifetime is over.
    @EventLoop func forget(_ chat: Chat.ID) async {
        client.send([Array("DEL".utf8), Array(key(of: chat).utf8)]) { _ in }
    }

    private func key(of chat: Chat.ID) -> String {
        "\(prefix)context:\(budget):\(chat.text)"
    }
}
