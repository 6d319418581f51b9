internal import Formats

/// One step of a message, for the subscribers of its chat.
package struct StreamFrame: Sendable, Equatable {
    package enum Content: Sendable, Equatable {
        /// New text of the reply, empty in the first frame. The first frame of a message has its
        /// prompt too.
        case delta(String, prompt: String?)
        /// The message has its final form, which is in the store.
        case ended
    }

    package let chatID: Chat.ID
    package let messageID: Message.ID
    /// The author of the prompt.
    package let userID: User.ID
    package let content: Content

    /// Whether this is the last frame of its message.
    package var isEnd: Bool { content == .ended }

    package init(
        chatID: Chat.ID, messageID: Message.ID, userID: User.ID, _ content: Content
    ) {
        self.chatID = chatID
        self.messageID = messageID
        self.userID = userID
        self.content = content
    }

    package init(endOf message: Message) {
        self.init(
            chatID: message.chatID, messageID: message.id, userID: message.userID, .ended)
    }
}

/// Carries frames from the process that runs a reply to the processes that hold its subscribers.
package protocol Bus: Sendable {
    /// Queues a frame and returns at once. Frames of one message keep their order; consecutive
    /// deltas of one message may arrive as one frame. A frame that cannot be carried is dropped and
    /// logged, with all later deltas of its message, so that the delivered deltas are a prefix of
    /// the reply. The end of a message is in the store before it is published, and no frame of the
    /// message is carried after its end, not even a second end.
    func publish(_ frame: StreamFrame)

    /// Whether frames are carried at the moment, as far as this process knows.
    func isReachable() async -> Bool

    /// Carries the published frames, as far as possible. Frames that are published later are
    /// dropped.
    func close() async

    /// Returns when all frames published before were carried, or dropped after one attempt.
    func flush() async

    /// The messages whose ends were published so many milliseconds ago and are not carried. Each is
    /// returned once: the caller stores it.
    func takeOverdueEnds(after milliseconds: Int64) -> [Message.ID]

    /// Takes ends back that the caller could not store.
    func putBack(overdue ids: [Message.ID])

    /// Whether the end of a message was published by this process and is not carried yet.
    func isPending(_ id: Message.ID) -> Bool

    /// The position of the log; nil while it is unreachable.
    func mark() async -> LogMark?

    /// Writes the store's count into the log, if the log still has this epoch.
    func keep(storeCount: Int64, in epoch: String) async

    /// Begins a new epoch of the log, if the log still has this one, so that earlier ids lead to a
    /// reset. False where that failed.
    func beginAnew(after epoch: String) async -> Bool
}

/// The position of a log, which shows whether store and log belong together.
package struct LogMark: Sendable, Equatable {
    package let epoch: String
    /// The largest count of the store that was written into the log, 0 before the first; nil where
    /// the log keeps none.
    package let storeCount: Int64?

    package init(epoch: String, storeCount: Int64?) {
        self.epoch = epoch
        self.storeCount = storeCount
    }
}

extension Bus {
    package func isReachable() async -> Bool { true }
    package func flush() async {}
    package func takeOverdueEnds(after milliseconds: Int64) -> [Message.ID] { [] }
    package func putBack(overdue ids: [Message.ID]) {}
    package func isPending(_ id: Message.ID) -> Bool { false }
    package func mark() async -> LogMark? { nil }
    package func keep(storeCount: Int64, in epoch: String) async {}
    package func beginAnew(after epoch: String) async -> Bool { false }
}

/// The bus of a process without subscribers.
package struct NoBus: Bus {
    package init() {}
    package func publish(_ frame: StreamFrame) {}
    package func close() async {}
}

/// The id of a frame: its place in one log, written `epoch-sequence`. Clients resume from it.
package struct FrameID: Sendable, Hashable, CustomStringConvertible {
    /// The name of the log, in letters and digits. Every boot and every new file has another one.
    package let epoch: String
    /// Grows by the order of commits, from 1 on; 0 stands before the first frame.
    package let sequence: Int64

    /// The largest sequence: Lua's numbers are exact up to here. Decoders refuse a larger one, so
    /// that sums do not overflow.
    package static let largestSequence: Int64 = 1 << 53

    package init(epoch: String, sequence: Int64) {
        self.epoch = epoch
        self.sequence = sequence
    }

    /// Reads `description`; nil for anything else.
    package init?(_ text: String) {
        // 64 bytes of an epoch, a dash, and the digits of a number.
        guard text.utf8.count <= 84 else { return nil }
        let parts = text.parts(separatedBy: "-")
        guard parts.count == 2, Self.isEpoch(parts[0]),
            let sequence = parts[1].utf8.decimalNumber, sequence <= Self.largestSequence
        else { return nil }
        self.init(epoch: String(parts[0]), sequence: sequence)
    }

    package var description: String { "\(epoch)-\(sequence)" }

    /// Whether a text may be the name of a log.
    package static func isEpoch(_ text: some StringProtocol) -> Bool {
        (1...64).contains(text.utf8.count) && text.utf8.allSatisfy { isDigitOrLetter($0) }
    }
}

private func isDigitOrLetter(_ byte: UInt8) -> Bool {
    (0x30...0x39).contains(byte) || (0x61...0x7A).contains(lowerCase(byte))
}

/// A frame with its place in the log.
package struct LoggedFrame: Sendable, Equatable {
    package let id: FrameID
    package let frame: StreamFrame

    package init(id: FrameID, frame: StreamFrame) {
        self.id = id
        self.frame = frame
    }
}

/// The log of frames as the streamer reads it: live frames of all chats, and the history of one
/// chat.
///
/// A subscriber is registered for live frames first; then history is read; then the live frames
/// that history did not have are delivered. So there is neither a gap nor a repetition. A reader of
/// a frame finds at least the store's state at the time of its publication.
package protocol BusLog: Sendable {
    /// Begins to deliver all frames that are committed from now on, in order, in batches. An empty
    /// batch means a gap, because the log began anew or frames were missed: every subscriber has to
    /// start over. `deliver` is called on a thread of the log and must not block it.
    func start(_ deliver: @escaping @Sendable (_ batch: [LoggedFrame]) -> Void) async throws

    /// Ends the delivery; `deliver` is not called again.
    func stop() async

    /// The id of the newest frame.
    func head() async throws -> FrameID

    /// The frames of a chat after `id`, in order. Nil when they are not available: the id has
    /// another epoch or is above the head, its successors may be trimmed, or there are too many.
    func frames(of chat: Chat.ID, after id: FrameID) async throws -> [LoggedFrame]?

    /// The frames of the chat's messages that have not ended, from the beginning of each, in order,
    /// and the head at that moment.
    func runningFrames(of chat: Chat.ID) async throws -> (frames: [LoggedFrame], head: FrameID)

    /// Whether the log is unreachable. It then returns an empty history and delivers nothing, until
    /// an empty batch says that it is back. Ends are read from the store meanwhile.
    func isAway() async -> Bool
}

extension BusLog {
    package func isAway() async -> Bool { false }
}
