internal import EventLoop
internal import Logging
internal import ProxyGPT

/// Context windows in Redis, shared by all processes of all hosts.
///
/// There is no second level in memory: it would save a fraction of a millisecond of a prompt that
/// takes seconds, and only for chats whose prompts come to one process by chance.
@EventLoop final class RedisContextCache: ContextCache {
    /// Seconds that a window stays without being written again.
    nonisolated static let lifetime = 86_400
    /// Bytes of the largest window that is kept.
    nonisolated static let sizeLimit = 1024 * 1024
    /// Bytes within which a value's head ends: two numbers and a line's end.
    private nonisolated static let headLimit = 64

    private let client: RedisClient
    private let prefix: String
    private let seal: Seal
    private let budget: Int

    /// - Parameter budget: the token budget of this process's windows. Windows of another budget
    ///   reach back to another message, and are kept apart.
    nonisolated init(_ client: RedisClient, prefix: String, seal: Seal, budget: Int) {
        self.client = client
        self.prefix = prefix
        self.seal = seal
        self.budget = budget
    }

    @EventLoop func window(of chat: Chat.ID) async -> ContextWindow? {
        let key = key(of: chat)
        let reply: RedisReply
        do {
            reply = try await client.ask(
                [Array("GET".utf8), Array(key.utf8)], group: Refusals.windows)
        } catch {
            if error == .refused(code: "WRONGTYPE") { discard(key) }
            return nil
        }
        guard let bytes = reply.bytes else { return nil }
        guard let content = opened(bytes, for: key) else {
            // An invalid value must not keep a valid window out.
            discard(key)
            return nil
        }
        return ContextWindow(encoded: content).flatMap { $0.budget == budget ? $0 : nil }
    }

    /// The content behind the head, if head and seal are valid.
    private func opened(_ bytes: [UInt8], for key: String) -> [UInt8]? {
        guard let end = bytes.prefix(Self.headLimit).firstIndex(of: 0x0A) else { return nil }
        let head = String(decoding: bytes[..<end], as: UTF8.self)
        return seal.opened(bytes[(end + 1)...], for: key + " " + head)
    }

    /// Adds the reading of windows to the trials before Redis counts as back after refusals.
    @EventLoop func start() {
        let key = "\(prefix)context:\(budget):trial"
        client.addTrial { _ in
            [
                Trial(
                    script: .keep, keys: [key],
                    arguments: ["0", "0", "", "1"].map { Array($0.utf8) }),
                Trial(arguments: [Array("GET".utf8), Array(key.utf8)]),
            ]
        }
    }

    private func discard(_ key: String) {
        client.send([Array("UNLINK".utf8), Array(key.utf8)]) { _ in }
    }

    /// Returns when the window is on its way: a later read from here finds it.
    @EventLoop func keep(_ window: ContextWindow, of chat: Chat.ID) async {
        guard window.budget == budget, window.size <= Self.sizeLimit else { return }
        let key = key(of: chat)
        let head = "\(window.version) \(window.entries.count)"
        client.run(
            .keep, keys: [key],
            [
                Array("\(window.version)".utf8), Array("\(window.entries.count)".utf8),
                Array((head + "\n").utf8) + seal.closed(window.encoded, for: key + " " + head),
                Array("\(Self.lifetime)".utf8),
            ]
        ) { _ in }
    }

    /// Returns when the command is on its way. A window that another process writes just then stays
    /// until its lifetime is over.
    @EventLoop func forget(_ chat: Chat.ID) async {
        client.send([Array("DEL".utf8), Array(key(of: chat).utf8)]) { _ in }
    }

    private func key(of chat: Chat.ID) -> String {
        "\(prefix)context:\(budget):\(chat.text)"
    }
}
