internal import EventLoop
internal import HTTPAPI
internal import ProxyGPT

/// Reads what a subscriber missed, or where a chat stands.
///
/// The log says what was published, the store how messages ended; a message that the log has as
/// running and the store as ended lost its last frame, or it is on its way.
@EventLoop final class HistoryReader {
    /// After a reset, messages and bytes.
    nonisolated static let messageLimit = 100
    nonisolated static let byteLimit = 1024 * 1024

    private let log: any BusLog
    private let store: any MessageStore
    private let resolver: FrameResolver

    nonisolated init(log: any BusLog, store: any MessageStore, resolver: FrameResolver) {
        self.log = log
        self.store = store
        self.resolver = resolver
    }

    func history(of chat: Chat.ID, _ resumption: Resumption) async throws -> History {
        switch resumption {
        case .none:
            return try await beginning(of: chat)
        case .after(let id):
            guard let frames = try await log.frames(of: chat, after: id) else {
                return try await newest(of: chat)
            }
            return try await rest(of: chat, after: id, frames)
        case .impossible:
            return try await newest(of: chat)
        }
    }

    /// The replies that are running.
    private func beginning(of chat: Chat.ID) async throws -> History {
        let log = try await log.runningFrames(of: chat)
        var history = History(position: log.head)
        let ends = try await look(log.frames, chat, &history, id: .nowhere)
        history.frames = ends
        history.frames += try await words(log.frames, in: history)
        return history
    }

    /// Everything after an id.
    private func rest(
        of chat: Chat.ID, after id: FrameID, _ frames: [LoggedFrame]
    ) async throws -> History {
        var history = History(position: frames.last?.id ?? id)
        history.frames = try await resolver.resolve(frames).gathered()
        var ended: Set<Message.ID> = []
        for frame in history.frames {
            if case .last = frame.content { ended.insert(frame.messageID) }
        }
        for frame in frames where !ended.contains(frame.frame.messageID) {
            history.running.insert(frame.frame.messageID)
        }
        let running = try await log.runningFrames(of: chat).frames.filter {
            !ended.contains($0.frame.messageID)
        }
        history.frames += try await look(running, chat, &history, id: history.position)
        return history
    }

    /// The newest messages as they stand. Until the last of them has come, a client has an id that
    /// makes it start over.
    private func newest(of chat: Chat.ID) async throws -> History {
        // The log first: what ended before its head is then ended in the store.
        let log = try await log.runningFrames(of: chat)
        var history = History(position: log.head)
        history.frames = [.reset(chat, id: .nowhere)]
        var listed: Set<Message.ID> = []
        for message in try await newestMessages(of: chat) {
            listed.insert(message.id)
            if message.state.isRunning {
                history.running.insert(message.id)
            } else {
                history.settled.insert(message.id)
                history.frames.append(.last(message, id: .nowhere))
            }
        }
        let unlisted = log.frames.filter { !listed.contains($0.frame.messageID) }
        history.frames += try await look(unlisted, chat, &history, id: .nowhere)
        history.frames += try await words(log.frames, in: history).map { $0.with(id: .nowhere) }
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

    /// Sorts the messages that the log has as running into those that are and those that have
    /// ended; returns the last frames of the latter.
    private func look(
        _ frames: [LoggedFrame], _ chat: Chat.ID, _ history: inout History, id: FrameID
    ) async throws -> [Frame] {
        var ends: [Frame] = []
        var seen: Set<Message.ID> = []
        for frame in frames where seen.insert(frame.frame.messageID).inserted {
            guard let message = try await store.message(frame.frame.messageID, in: chat) else {
                continue
            }
            if message.state.isRunning {
                history.running.insert(message.id)
            } else {
                history.running.remove(message.id)
                history.settled.insert(message.id)
                ends.append(.last(message, id: id))
            }
        }
        return ends
    }

    /// The words of those messages that are running.
    private func words(_ frames: [LoggedFrame], in history: History) async throws -> [Frame] {
        try await resolver.resolve(
            frames.filter { history.running.contains($0.frame.messageID) }
        ).gathered()
    }
}
