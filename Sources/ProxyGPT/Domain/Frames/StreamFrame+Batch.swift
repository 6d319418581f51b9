extension StreamFrame {
    /// The weight of the frame in a queue and in a batch, roughly, in bytes.
    package var size: Int {
        switch content {
        case .delta(let text, let prompt): 256 + text.utf8.count + (prompt?.utf8.count ?? 0)
        case .ended: 256
        }
    }

    /// Joins all deltas of a message within a batch into one frame. Frames of one message keep their
    /// order; frames of different messages were published within 20 ms, and their order is of no
    /// importance.
    package static func merge(_ batch: [StreamFrame]) -> [StreamFrame] {
        if batch.count == 1 { return batch }
        // Texts grow in place, outside of their frames.
        var merged: [(frame: StreamFrame, text: String, prompt: String?)] = []
        var open: [Message.ID: Int] = [:]
        for frame in batch {
            switch frame.content {
            case .delta(let text, let prompt):
                if let index = open[frame.messageID] {
                    merged[index].text += text
                    merged[index].prompt = merged[index].prompt ?? prompt
                } else {
                    open[frame.messageID] = merged.count
                    merged.append((frame, text, prompt))
                }
            case .ended:
                open[frame.messageID] = nil
                merged.append((frame, "", nil))
            }
        }
        return merged.map { frame, text, prompt in
            if frame.isEnd { return frame }
            return StreamFrame(
                chatID: frame.chatID, messageID: frame.messageID, userID: frame.userID,
                .delta(text, prompt: prompt))
        }
    }
}
