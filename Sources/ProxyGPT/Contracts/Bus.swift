internal import Formats

/// What happens to a message while its chat's subscribers watch.
package struct StreamFrame: Sendable, Equatable {
    package enum Content: Sendable, Equatable {
        /// New words of the reply, none at the very beginning. The first frame of a message brings
        /// its prompt too.
        case words(String, prompt: String?)
        /// The message has its final form, which stands in the store.
        case ended
    }

    package let chatID: Chat.ID
    package let messageID: Message.ID
    /// Who wrote the prompt.
    package let userID: User.ID
    package let content: Content

    /// Whether it is the last of its message.
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

/// Carries frames from whoever runs a reply to whoever holds its subscribers.
package protocol Bus: Sendable {
    /// Queues a frame and returns at once. Frames of one message keep their order; words of one
    /// message that follow each other may arrive as one frame. A frame that cannot be carried is
    /// dropped and logged, and with it all later words of its message, so that those that arrive
    /// are a prefix of the reply. The end of a message is in the store before it is published, and
    /// nothing of the message is carried after its end, a second end neither.
    func publish(_ frame: StreamFrame)

    /// Whether frames are carried just now, as far as anybody knows.
    func isReachable() async -> Bool

    /// Carries what was published, as far as that is possible; what is published later is dropped.
    func close() async

    /// Returns once everything published before was carried, or given up after one attempt.
    func flush() async

    /// The messages whose ends were published so many milliseconds ago and have not been carried, each
    /// once: their store knows of them then.
    func takeOverdueEnds(after milliseconds: Int64) -> [Message.ID]

    /// Gives back ends that the store did not take.
    func putBack(overdue ids: [Message.ID])

    /// Whether the end of a message was published here and has not been carried.
    func isPending(_ id: Message.ID) -> Bool

    /// Where the log stands; nil while nobody can tell.
    func mark() async -> LogMark?

    /// Notes in the log how far the store has come, if the log still has this epoch.
    func keep(storeCount: Int64, in epoch: String) async

    /// Has the log begin a new epoch, if it still has this one: ids of before then lead to a reset. False
    /// where that could not be done.
    func beginAnew(after epoch: String) async -> Bool
}

/// Where a log stands, for whoever finds out whether store and log are of one age.
package struct LogMark: Sendable, Equatable {
    package let epoch: String
    /// The largest count of the store that the log has heard of, 0 before the first; nil where it keeps none.
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

/// The bus of a process whose frames nobody waits for.
package struct NoBus: Bus {
    package init() {}
    package func publish(_ frame: StreamFrame) {}
    package func close() async {}
}

/// Names a frame: its place in one log. What clients resume from, written `epoch-sequence`.
package struct FrameID: Sendable, Hashable, CustomStringConvertible {
    /// Names the log: another one after every boot and for every new file. Letters and digits.
    package let epoch: String
    /// Grows by the order of commits, from 1 on; 0 stands before the first frame.
    package let sequence: Int64

    /// The largest number that any log counts to: Lua's numbers are exact up to here. Whoever decodes
    /// a larger one refuses it, so that sums with those that remain do not overflow.
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

    /// Whether a log may have this name.
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

/// The log of frames as the streamer reads it: live for all chats at once, and back in time for one.
///
/// A subscriber is registered for live frames first, then history is read, then live frames are let
/// through that history did not have: so there is neither a hole nor a repetition. Whoever has read
/// a frame finds in the store what was there when the frame was published.
package protocol BusLog: Sendable {
    /// Begins to deliver all frames that are committed from now on, in order, in batches. An empty
    /// batch means that what follows does not join what was delivered before, because the log began
    /// anew or frames were missed: every subscriber has to start over. `deliver` is called on a
    /// thread of the log's own and must not block it.
    func start(_ deliver: @escaping @Sendable (_ batch: [LoggedFrame]) -> Void) async throws

    /// Ends the delivery; `deliver` is not called again.
    func stop() async

    /// The id of the newest frame.
    func head() async throws -> FrameID

    /// The frames of a chat after `id`, in order; nil when they cannot be told any more: another
    /// epoch, an id above the head, one whose successors may have been trimmed, or too many of them.
    func frames(of chat: Chat.ID, after id: FrameID) async throws -> [LoggedFrame]?

    /// The frames of the chat's messages that have not ended, from the beginning of each, in order,
    /// and the head at that moment.
    func runningFrames(of chat: Chat.ID) async throws -> (frames: [LoggedFrame], head: FrameID)

    /// Whether the log is out of reach for the time being: it then tells an empty past and delivers
    /// nothing, until an empty batch says that it is back. The store knows meanwhile what ends.
    func isAway() async -> Bool
}

extension BusLog {
    package func isAway() async -> Bool { false }
}
