internal import Formats
internal import Gateway
internal import ProxyGPT

/// A frame as a subscriber is to see it, before it is encoded: complete, and of one chat.
struct Frame: Sendable {
    enum Content: Sendable {
        /// New words of a reply; the prompt where the subscriber is to see it.
        case delta(String, prompt: String?, user: User.ID)
        /// The message in its final form, as JSON.
        case last([UInt8])
        /// What follows are the newest messages as they stand; what came before may have a hole.
        case reset
    }

    let id: FrameID
    let chatID: Chat.ID
    let messageID: Message.ID
    let content: Content

    /// Longer prompts stand in the first frame of a message and in the last alone.
    static let promptLimit = 1024

    init(id: FrameID, chatID: Chat.ID, messageID: Message.ID, _ content: Content) {
        self.id = id
        self.chatID = chatID
        self.messageID = messageID
        self.content = content
    }

    var isLast: Bool {
        if case .last = content { true } else { false }
    }

    static func last(_ message: Message, id: FrameID) -> Frame {
        let json: JSONValue = ["message": message.view, "partial": false]
        return Frame(
            id: id, chatID: message.chatID, messageID: message.id, .last(json.encoded))
    }

    static func reset(_ chat: Chat.ID, id: FrameID) -> Frame {
        Frame(id: id, chatID: chat, messageID: Message.ID(""), .reset)
    }

    func with(id: FrameID) -> Frame {
        Frame(id: id, chatID: chatID, messageID: messageID, content)
    }

    /// This frame and the next one of the same message as one; nil where they do not join.
    func merged(with next: Frame) -> Frame? {
        guard next.messageID == messageID, case .delta(let text, let prompt, let user) = content,
            case .delta(let more, _, _) = next.content
        else { return nil }
        return Frame(
            id: next.id, chatID: chatID, messageID: messageID,
            .delta(text + more, prompt: prompt, user: user))
    }

    /// The JSON that both transports carry.
    var json: [UInt8] {
        switch content {
        case .last(let json): return json
        case .reset: return Array(#"{"reset":true}"#.utf8)
        case .delta(let text, let prompt, let user):
            var message: [(name: String, value: JSONValue)] = [
                ("id", .string(messageID.text)), ("chat_id", .string(chatID.text)),
                ("user_id", .string(user.text)),
            ]
            if let prompt { message.append(("prompt", .string(prompt))) }
            message.append(("reply", .string(text)))
            message.append(("state", .string(Message.State.streaming.rawValue)))
            let json: JSONValue = ["message": .object(message), "partial": true]
            return json.encoded
        }
    }
}

extension FrameID {
    /// An id that no log has: a client that resumes from it starts over.
    static let nowhere = FrameID(epoch: "reset", sequence: 0)
}

extension [Frame] {
    /// The same words in fewer frames, for what is read all at once; none grows beyond `limit`.
    func gathered(limit: Int = 16 * 1024) -> [Frame] {
        var gathered: [Frame] = []
        var size = 0
        for frame in self {
            guard case .delta(let text, _, _) = frame.content else {
                gathered.append(frame)
                size = 0
                continue
            }
            if size > 0, size + text.utf8.count <= limit,
                let merged = gathered.last?.merged(with: frame)
            {
                gathered[gathered.count - 1] = merged
                size += text.utf8.count
            } else {
                gathered.append(frame)
                size = Swift.max(1, text.utf8.count)
            }
        }
        return gathered
    }
}
