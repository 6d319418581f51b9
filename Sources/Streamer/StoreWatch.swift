internal import EventLoop
internal import Logging
internal import ProxyGPT

/// Looks at the store for messages that end while the log is away, once a second.
///
/// The first look at a chat tells what had ended by then; it is taken before everybody is referred to
/// the store, or by the history of the chat's first subscriber, so that what ends afterwards is in one of
/// the two.
@EventLoop final class StoreWatch {
    private nonisolated static let interval: Int64 = 1000
    /// Newest messages of a chat that are looked at: as many as may well run at once.
    nonisolated static let depth = 10

    private let log: any BusLog
    private let store: any MessageStore
    private let watched: WatchedChats
    private let logger: Logger
    private let deliver: @Sendable (_ ended: [Message], _ areNew: Bool) -> Void
    private let endedMessages: EndedMessages
    private var looking: Task<Void, Never>?

    /// - Parameter deliver: called with messages that have ended; new ones had not at the last look.
    nonisolated init(
        log: any BusLog, store: any MessageStore, watched: WatchedChats,
        endedMessages: EndedMessages = EndedMessages(), logger: Logger,
        deliver: @escaping @Sendable (_ ended: [Message], _ areNew: Bool) -> Void
    ) {
        self.log = log
        self.store = store
        self.watched = watched
        self.endedMessages = endedMessages
        self.logger = logger
        self.deliver = deliver
    }

    func start() {
        looking = EventLoop.spawn {
            while !Task.isCancelled {
                await EventLoop.sleep(milliseconds: Self.interval)
                await self.look()
            }
        }
    }

    func stop() {
        looking?.cancel()
    }

    /// Looks at all chats that somebody watches, if the log is away.
    func look() async {
        guard await log.isAway() else {
            endedMessages.forgetAll()
            return
        }
        let chats = watched.all
        endedMessages.keep(chats)
        do {
            for chat in chats { try await look(at: chat) }
        } catch {
            logger.error(
                "ended messages not read", metadata: ["error": "\(String(describing: error))"])
        }
    }

    private func look(at chat: Chat.ID) async throws {
        let page = Page(limit: Self.depth, place: .newest)
        let messages = try await store.messages(of: chat, page).elements
        let before = endedMessages.update(chat, with: messages)
        let news = messages.filter {
            !$0.state.isRunning && before?.contains($0.id) != true
        }
        if !news.isEmpty { deliver(news, before != nil) }
    }
}
