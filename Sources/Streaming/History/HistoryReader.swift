internal import EventLoop
internal import Gateway
internal import ProxyGPT

/// Reads what a subscriber missed, or where a chat stands.
///
/// The log says what was published, the store how messages ended. A message that the log has as
/// running and the store as ended is delivered as running: its last frame is on its way, or got lost and
/// will be put into the log. So it comes once, with an id of its own.
@EventLoop final class HistoryReader {
    /// After a reset, messages and bytes.
    nonisolated static let messageLimit = 100
    nonisolated static let byteLimit = 1024 * 1024
    /// Milliseconds by which the clocks of hosts may differ: an end is better delivered twice than never.
    private nonisolated static let skew: Int64 = 1000

    private let log: any BusLog
    private let store: any MessageStore
    private let resolver: FrameResolver
    private let endedMessages: EndedMessages

    nonisolated init(
        log: any BusLog, store: any MessageStore, resolver: FrameResolver,
        endedMessages: EndedMessages = EndedMessages()
    ) {
        self.endedMessages = endedMessages
        self.log = log
        self.store = store
        self.resolver = resolver
    }

    /// - Parameters:
    ///   - last: the newest frame that had been passed on when the subscriber was registered.
    ///   - time: when the subscriber asked to be.
    func history(
        of chat: Chat.ID, _ resumption: Resumption, since last: FrameID?, time: Timestamp? = nil
    ) async throws -> History {
        switch resumption {
        case .none:
            return try await beginning(of: chat, since: last, time)
        case .after(let id):
            guard let frames = try await log.frames(of: chat, after: id) else {
                return try await newest(of: chat)
            }
            return try await rest(of: chat, after: id, frames)
        case .impossible:
            return try await newest(of: chat)
        }
    }

    /// The replies that are running, and what has ended since the subscriber was registered.
    private func beginning(
        of chat: Chat.ID, since last: FrameID?, _ time: Timestamp?
    ) async throws -> History {
        let running = try await log.runningFrames(of: chat)
        var history = History(position: running.head)
        history.frames = try await deltaFrames(running.frames, of: chat, &history)
        if let last, last.epoch == running.head.epoch, last.sequence < running.head.sequence {
            let ended = try await log.frames(of: chat, after: last)?.filter {
                $0.frame.isEnd && $0.id.sequence <= running.head.sequence
            }
            let ends = try await resolver.resolve(ended ?? []).gathered()
            history.ended = Set(ends.map(\.messageID))
            history.frames = (history.frames + ends).sorted { $0.id.sequence < $1.id.sequence }
        }
        if await log.isAway() {
            // The store alone knows what is running; as many as it is asked about while that lasts.
            let page = Page(limit: StoreWatch.depth, place: .newest)
            let messages = try await store.messages(of: chat, page).elements
            endedMessages.begin(chat, with: messages)
            for message in messages {
                if message.state.isRunning {
                    history.running.insert(message.id)
                } else if let time, message.updatedAt.milliseconds >= time.milliseconds &- Self.skew
                {
                    // While this was waited for; no log says so.
                    history.ended.insert(message.id)
                    history.frames.append(.last(message, id: history.position))
                }
            }
        }
        return history
    }

    /// Everything after an id.
    private func rest(
        of chat: Chat.ID, after id: FrameID, _ frames: [LoggedFrame]
    ) async throws -> History {
        var history = History(position: frames.last?.id ?? id)
        history.frames = try await resolver.resolve(frames).gathered()
        history.ended = Set(history.frames.filter(\.isLast).map(\.messageID))
        let running = try await log.runningFrames(of: chat).frames
        for frame in frames + running where !history.ended.contains(frame.frame.messageID) {
            history.running.insert(frame.frame.messageID)
        }
        return history
    }

    /// The newest messages as they stand. Until the last of them has come, a client has an id that
    /// makes it start over.
    private func newest(of chat: Chat.ID) async throws -> History {
        // The log first: what ended before its head is then ended in the store.
        let isAway = await self.log.isAway()
        let log = try await log.runningFrames(of: chat)
        var history = History(position: log.head)
        history.frames = [.reset(chat, id: .nowhere)]
        let running = Set(log.frames.map(\.frame.messageID))
        let messages = try await newestMessages(of: chat)
        if isAway { endedMessages.begin(chat, with: messages) }
        for message in messages {
            if message.state.isRunning || running.contains(message.id) {
                history.running.insert(message.id)
            } else {
                history.ended.insert(message.id)
                history.frames.append(.last(message, id: .nowhere))
            }
        }
        history.frames += try await deltaFrames(log.frames, of: chat, &history).map {
            $0.with(id: .nowhere)
        }
        if let last = history.frames.popLast() { history.frames.append(last.with(id: log.head)) }
        return history
    }

    private func newestMessages(of chat: Chat.ID) async throws -> [Message] {
        var newest: [Message] = []
        var bytes = 0
        var place = Page.Place.newest
        while true {
            let listing = try await store.messages(of: chat, Page(limit: 10, place: place))
            for message in listing.elements.reversed() {
                bytes += message.prompt.utf8.count + message.reply.utf8.count
                if !newest.isEmpty && bytes > Self.byteLimit { return newest.reversed() }
                newest.append(message)
                if newest.count == Self.messageLimit { return newest.reversed() }
            }
            guard listing.hasMore, let oldest = listing.elements.first else {
                return newest.reversed()
            }
            place = .before(oldest.id.text)
        }
    }

    /// The deltas of running messages, without those of messages that are gone.
    private func deltaFrames(
        _ frames: [LoggedFrame], of chat: Chat.ID, _ history: inout History
    ) async throws -> [Frame] {
        var gone: Set<Message.ID> = []
        for frame in frames {
            let id = frame.frame.messageID
            if gone.contains(id) || history.running.contains(id) { continue }
            if try await store.message(id, in: chat) != nil {
                history.running.insert(id)
            } else {
                gone.insert(id)
            }
        }
        return try await resolver.resolve(frames.filter { !gone.contains($0.frame.messageID) })
            .gathered()
    }
}
