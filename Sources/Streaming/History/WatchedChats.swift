internal import ProxyGPT
internal import Synchronization

/// Which chats have subscribers: written by the fan-out, read where frames come in, so that nothing
/// is done for a chat without subscribers.
package final class WatchedChats: Sendable {
    private let ids = Mutex<Set<Chat.ID>>([])

    func insert(_ id: Chat.ID) { ids.withLock { _ = $0.insert(id) } }

    func remove(_ id: Chat.ID) { ids.withLock { _ = $0.remove(id) } }

    var all: Set<Chat.ID> { ids.withLock { $0 } }

    /// The frames of chats that are watched.
    func watched(_ frames: [LoggedFrame]) -> [LoggedFrame] {
        ids.withLock { ids in
            ids.isEmpty ? [] : frames.filter { ids.contains($0.frame.chatID) }
        }
    }
}
