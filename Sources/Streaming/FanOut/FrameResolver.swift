internal import EventLoop
internal import ProxyGPT

/// Makes complete frames of those of the bus: adds short prompts to words, and to an end the message
/// that the store has.
@EventLoop final class FrameResolver {
    private static let promptLimit = 20_000

    private let store: any MessageStore
    /// Of running messages: the prompt where it is short, nil where it is too long to be repeated.
    private var prompts: [Message.ID: String?] = [:]

    nonisolated init(store: any MessageStore) {
        self.store = store
    }

    /// The frame as subscribers see it; nil for the end of a message that is gone, or that the store
    /// has not ended although it should have.
    func resolve(_ logged: LoggedFrame) async throws -> Frame? {
        let frame = logged.frame
        switch frame.content {
        case .delta(let text, let given):
            let prompt: String?
            if let given {
                remember(given, of: frame.messageID)
                prompt = given
            } else {
                prompt = try await self.prompt(of: frame)
            }
            return Frame(
                id: logged.id, chatID: frame.chatID, messageID: frame.messageID,
                .delta(text, prompt: prompt, user: frame.userID))
        case .ended:
            guard let message = try await store.message(frame.messageID, in: frame.chatID),
                !message.state.isRunning
            else { return nil }
            prompts[frame.messageID] = nil
            return .last(message, id: logged.id)
        }
    }

    /// The frames that can be resolved, in order. An end that cannot be resolved is looked for again by
    /// subscribers that saw the message running.
    func resolve(_ frames: [LoggedFrame]) async throws -> [Frame] {
        var resolved: [Frame] = []
        resolved.reserveCapacity(frames.count)
        for frame in frames {
            if let frame = try await resolve(frame) { resolved.append(frame) }
        }
        return resolved
    }

    private func prompt(of frame: StreamFrame) async throws -> String? {
        if let known = prompts[frame.messageID] { return known }
        let message = try await store.message(frame.messageID, in: frame.chatID)
        remember(message?.prompt ?? "", of: frame.messageID)
        return prompts[frame.messageID] ?? nil
    }

    private func remember(_ prompt: String, of message: Message.ID) {
        // Those of messages whose end was never seen; what is needed is read again.
        if prompts.count >= Self.promptLimit { prompts.removeAll() }
        prompts.updateValue(
            prompt.utf8.count <= Frame.promptLimit ? prompt : nil, forKey: message)
    }
}
