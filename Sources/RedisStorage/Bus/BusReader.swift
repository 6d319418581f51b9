internal import EventLoop
internal import Formats
internal import ProxyGPT

/// Asks Redis for the frames of the past.
@EventLoop final class BusReader {
    /// The most frames of one chat, and bytes, that history returns; a subscriber that lacks more
    /// starts over.
    nonisolated static let historyLimit = 20_000
    nonisolated static let historyBytes = 16 * 1024 * 1024
    /// Entries that are read in one step of Redis, which does nothing else meanwhile.
    nonisolated static let page = 200

    /// Batches of the last minute that are read in one step.
    private nonisolated static let batches = 50

    let place: BusPlace
    /// Fewer for a while after a late answer: the batches may be large and the line slow.
    private var batches = BusReader.batches
    private var renewableAt: Int64 = 0
    private let client: RedisClient
    private let identifiers: any IdentifierSource

    nonisolated init(
        _ client: RedisClient, place: BusPlace, identifiers: any IdentifierSource
    ) {
        self.client = client
        self.place = place
        self.identifiers = identifiers
    }

    /// The id of the newest frame.
    /// - Parameter known: an id that existed: a log that does not reach so far is another log.
    func head(known: FrameID?) async throws -> FrameID {
        try await run(.state, [], known: known).head
    }

    /// The batches after `id` that Redis still has, and the head.
    func recent(
        after id: FrameID, renewing: String
    ) async throws -> (head: FrameID, batches: [FrameBatch]) {
        let wanted = batches
        let state: LogState
        do {
            state = try await run(
                .recent, ["\(id.sequence)", "\(wanted)"], known: id, renewing: renewing)
        } catch RedisError.late {
            batches = max(1, wanted / 4)
            throw RedisError.late
        }
        let entries = try Self.entries(state.rest.first)
        // The gap is read to its end.
        if entries.count < wanted { batches = Self.batches }
        return (state.head, entries.compactMap { FrameBatch($0.bytes, place.seal) })
    }

    func frames(of chat: Chat.ID, after id: FrameID, known: FrameID?) async throws
        -> [LoggedFrame]?
    {
        var frames: [LoggedFrame] = []
        var positions = DeltaPositions()
        var last = id
        var bytes = 0
        while true {
            guard let (page, count, size) = try await page(of: chat, after: last, known: known)
            else { return nil }
            frames += page.frames.filter { positions.admits($0.frame.frame, at: $0.position) }
                .map(\.frame)
            bytes += size
            if count < Self.page { return frames }
            if frames.count > Self.historyLimit || bytes > Self.historyBytes { return nil }
            last = page.last
        }
    }

    func runningFrames(
        of chat: Chat.ID, known: FrameID?
    ) async throws -> (frames: [LoggedFrame], head: FrameID) {
        // A running message may lose its beginning to a newer frame between two pages.
        for _ in 0..<3 {
            if let found = try await tryRunningFrames(of: chat, known: known) { return found }
        }
        throw RedisError.unavailable
    }

    private func tryRunningFrames(
        of chat: Chat.ID, known: FrameID?
    ) async throws -> (frames: [LoggedFrame], head: FrameID)? {
        let state = try await run(.running, [chat.text], known: known)
        let list = state.rest.first?.list ?? []
        var beginnings: [Message.ID: Int64] = [:]
        for index in stride(from: 0, to: list.count - 1, by: 2) {
            // A subscriber without the beginning of a message gets nothing of it until its end.
            guard let message = list[index].text, let first = list[index + 1].sequence, first > 0
            else { continue }
            beginnings[Message.ID(message)] = first
        }
        guard let first = beginnings.values.min() else { return ([], state.head) }
        var frames: [LoggedFrame] = []
        var positions = DeltaPositions()
        var last = FrameID(epoch: state.head.epoch, sequence: first &- 1)
        while last.sequence < state.head.sequence {
            guard let (page, count, _) = try await page(of: chat, after: last, known: known) else {
                return nil
            }
            frames += page.frames.filter { frame, position in
                frame.id.sequence <= state.head.sequence
                    && beginnings[frame.frame.messageID].map { $0 <= frame.id.sequence } ?? false
                    && positions.admits(frame.frame, at: position)
            }.map(\.frame)
            if count < Self.page { break }
            last = page.last
        }
        return (frames, state.head)
    }

    // MARK: - Pages

    private struct Page {
        var frames: [(frame: LoggedFrame, position: Int)] = []
        var last: FrameID
    }

    /// The next frames of a chat, with the number of entries and bytes.
    private func page(
        of chat: Chat.ID, after id: FrameID, known: FrameID?
    ) async throws -> (page: Page, count: Int, size: Int)? {
        let state = try await run(
            .history, [chat.text, id.epoch, "\(id.sequence)", "\(Self.page)"], known: known)
        guard let list = state.rest.first else { return nil }
        let entries = try Self.entries(list)
        var page = Page(last: id)
        var size = 0
        for entry in entries {
            var reader = ByteReader(entry.bytes)
            let id = FrameID(epoch: state.head.epoch, sequence: entry.sequence)
            page.last = id
            size += entry.bytes.count
            // Entries of other programs or other chats are skipped.
            guard let read = try? StreamFrame.read(from: &reader, place.seal), reader.isAtEnd,
                read.frame.chatID == chat
            else { continue }
            page.frames.append((LoggedFrame(id: id, frame: read.frame), read.position))
        }
        return (page, entries.count, size)
    }

    /// The entries of a stream: `SEQUENCE-0` and one field each.
    private static func entries(
        _ reply: RedisReply?
    ) throws -> [(sequence: Int64, bytes: [UInt8])] {
        guard let list = reply?.list else { throw RedisError.unexpected }
        return try list.map { entry in
            guard let parts = entry.list, parts.count == 2,
                let sequence = parts[0].entryNumber,
                let fields = parts[1].list, fields.count == 2, let bytes = fields[1].bytes
            else { throw RedisError.unexpected }
            return (sequence, bytes)
        }
    }

    private func run(
        _ script: RedisScript, _ arguments: [String], known: FrameID?, renewing: String = ""
    ) async throws -> LogState {
        guard let run = client.runID else { throw RedisError.unavailable }
        let opening = place.opening(
            run: run, known: known, identifiers, renewing: renewing)
        let reply: RedisReply
        do {
            reply = try await client.run(
                script, keys: place.keys, opening + arguments.map { Array($0.utf8) })
        } catch {
            if error.isAboutContent { await renew() }
            throw error
        }
        guard let state = LogState(reply) else { throw RedisError.unexpected }
        return state
    }

    /// Makes the log begin anew, because of an entry that no script writes: not more often than
    /// once a second.
    func renew() async {
        let now = monotonicMilliseconds()
        guard now >= renewableAt, let run = client.runID else { return }
        renewableAt = now &+ 1000
        let opening = place.opening(run: run, known: nil, identifiers, renewing: BusPlace.any)
        _ = try? await client.run(.state, keys: place.keys, opening)
    }
}
