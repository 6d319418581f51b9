internal import EventLoop
internal import Logging
internal import ProxyGPT

/// Looks at the store for messages that end while the log is away, once a second.
///
/// The first poll of a chat finds what had ended by then; it happens before subscribers are referred to
/// the store, or by the history of the chat's first subscriber, so that what ends afterwards is in one of
/// the two. Each later poll goes back to where the one before ended, however much came since.
@EventLoop final class StoreWatch {
    /// Milliseconds between polls.
    nonisolated static let interval: Int64 = 1000
    /// Newest messages of a chat that a first poll goes back to: more than may well run at once.
    nonisolated static let depth = 50
    /// Messages that one query reads, and messages of one chat that one poll reads.
    private nonisolated static let page = 10
    private nonisolated static let limit = 10_000

    private let log: any BusLog
    private let store: any MessageStore
    private let watched: WatchedChats
    private let logger: Logger
    private let deliver: @Sendable (_ ended: [Message], _ areNew: Bool) -> Void
    private let endedMessages: EndedMessages

    /// - Parameter deliver: called with messages that have ended; new ones had not at the last poll.
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

    /// Polls all chats that have subscribers, if the log is away.
    func poll() async {
        guard await log.isAway() else {
            endedMessages.forgetAll()
            return
        }
        let chats = watched.all
        endedMessages.keep(chats)
        do {
            for chat in chats { try await poll(chat) }
        } catch {
            logger.error(
                "ended messages not read", metadata: ["error": "\(String(describing: error))"])
        }
    }

    private func poll(_ chat: Chat.ID) async throws {
        var ended: [Message] = []
        var gone: Set<Message.ID> = []
        for id in endedMessages.reading(of: chat)?.running ?? [] {
            guard let message = try await store.message(id, in: chat) else {
                gone.insert(id)
                continue
            }
            if !message.state.isRunning { ended.append(message) }
        }
        let messages = try await newMessages(of: chat)
        // From here on nothing comes between: a history may have been read until now.
        let before = endedMessages.reading(of: chat)
        var reading = before ?? EndedMessages.Reading([])
        reading.running.subtract(gone)
        var news: [Message] = []
        for message in ended + messages {
            if reading.isNews(message) { news.append(message) }
        }
        for message in ended + messages { reading.take(message) }
        endedMessages.update(chat, to: reading)
        var told: Set<Message.ID> = []
        news = news.filter { told.insert($0.id).inserted }.sorted { $0.seq < $1.seq }
        if !news.isEmpty { deliver(news, before != nil) }
    }

    /// The newest messages back to where the last poll ended.
    private func newMessages(of chat: Chat.ID) async throws -> [Message] {
        var pages: [[Message]] = []
        var count = 0
        var place = Page.Place.newest
        while true {
            let listing = try await store.messages(of: chat, Page(limit: Self.page, place: place))
            pages.append(listing.elements)
            count += listing.elements.count
            let known = endedMessages.reading(of: chat)?.newest
            guard listing.hasMore, count < Self.limit, let oldest = listing.elements.first,
                known.map({ oldest.seq > $0 }) ?? (count < Self.depth)
            else { return Array(pages.reversed().joined()) }
            place = .before(oldest.id.text)
        }
    }
}
