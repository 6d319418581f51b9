#if canImport(FoundationEssentials)
    internal import FoundationEssentials
#else
    internal import Foundation
#endif

/// A reply while it is written.
///
/// The prompt is sent when the first delta is asked for. When the task is cancelled, and when the loop over
/// the deltas is left before the reply has ended, the reply is stopped at the model's server too. A connection
/// that breaks is replaced by another, without a lost or a repeated word.
public struct ReplyStream: AsyncSequence, Sendable {
    public typealias Element = Delta

    let connection: Connection
    let chat: String
    let prompt: Request

    public func makeAsyncIterator() -> Iterator {
        Iterator(reader: ReplyReader(connection, chat: chat, prompt: prompt))
    }

    public struct Iterator: AsyncIteratorProtocol {
        let reader: ReplyReader

        /// Waits for the next delta; nil after the last one.
        /// - Throws: a `ProxyGPTError` where the reply failed or the stream was lost, `CancellationError` where
        ///   the task is cancelled. A reply whose stream was lost goes on at the server.
        public mutating func next() async throws -> Delta? {
            try await reader.next()
        }
    }
}

/// Subscribes, prompts, and picks the deltas of the reply.
final class ReplyReader {
    private enum Phase {
        case beginning
        /// The message as the prompt was answered.
        case reading(Message)
        /// The reply has failed behind its last delta.
        case failing(ProxyGPTError)
        case over
    }

    private let connection: Connection
    private let chat: String
    private let prompt: Request
    private let subscription: Subscription
    private var text = ReplyText()
    private var phase = Phase.beginning

    init(_ connection: Connection, chat: String, prompt: Request) {
        self.connection = connection
        self.chat = chat
        self.prompt = prompt
        subscription = Subscription(connection, chat: chat)
    }

    deinit {
        guard case .reading(let message) = phase else { return }
        // The loop was left before the reply has ended.
        _ = Self.stop(message, connection)
    }

    func next() async throws -> Delta? {
        do {
            return try await advance()
        } catch {
            let message: Message? = if case .reading(let message) = phase { message } else { nil }
            phase = .over
            subscription.close()
            guard error is CancellationError else { throw error }
            if let message { await Self.stop(message, connection).value }
            throw error
        }
    }

    private func advance() async throws -> Delta? {
        switch phase {
        case .over: return nil
        case .failing(let error): throw error
        case .beginning:
            // The subscription first, so that no frame of the reply is missed.
            try await subscription.begin()
            let message = try await send()
            phase = .reading(message)
            // The server may know the prompt by its key, and its reply may have ended.
            if !message.state.isRunning { return try finish(message) }
            return try await read(message)
        case .reading(let message): return try await read(message)
        }
    }

    private func read(_ prompted: Message) async throws -> Delta? {
        while true {
            try Task.checkCancellation()
            let event = try await subscription.next()
            if event.name == "reset" {
                text.restart()
                if let ended = try await ended(prompted) { return try finish(ended) }
            }
            guard let frame = try MessageFrame(event), frame.message.id == prompted.id else {
                continue
            }
            if !frame.partial { return try finish(frame.message) }
            let fresh = text.add(frame.message.reply)
            if fresh.isEmpty { continue }
            var message = prompted
            message.reply = text.text
            message.state = frame.message.state
            return Delta(text: fresh, message: message, done: false)
        }
    }

    /// Takes the whole message: its text that is new is the last delta, or comes before the error of a failed
    /// reply.
    private func finish(_ message: Message) throws -> Delta? {
        phase = .over
        subscription.close()
        let rest = text.finish(message.reply)
        guard message.state == .failed else {
            return Delta(text: rest, message: message, done: true)
        }
        let error = ProxyGPTError(message.error)
        if rest.isEmpty { throw error }
        phase = .failing(error)
        return Delta(text: rest, message: message, done: false)
    }

    /// The message if it has ended: after a reset the server sends the newest messages alone.
    private func ended(_ prompted: Message) async throws -> Message? {
        let messages = Chats(connection: connection).messagesAll(chat)
        for try await message in messages {
            if message.id == prompted.id { return message.state.isRunning ? nil : message }
            guard let time = message.createdAt, let ours = prompted.createdAt else { continue }
            if time < ours.addingTimeInterval(-3600) { break }
        }
        return nil
    }

    /// Sends the prompt. When the task is cancelled meanwhile, the answer is awaited for a short time all the
    /// same: it has the id of the message whose reply is to be stopped.
    private func send() async throws -> Message {
        let (connection, prompt) = (connection, prompt)
        let sending = Task { try await connection.call(prompt, as: Reply.self).message }
        let outcome = await withTaskCancellationHandler {
            await sending.result
        } onCancel: {
            Task {
                try? await Task.sleep(for: Connection.stopTimeout)
                sending.cancel()
            }
        }
        guard Task.isCancelled else { return try outcome.get() }
        if let message = try? outcome.get(), message.state.isRunning {
            await Self.stop(message, connection).value
        }
        throw CancellationError()
    }

    /// Stops a reply, as well as that can be done, also when the task of the stream is cancelled.
    private static func stop(_ message: Message, _ connection: Connection) -> Task<Void, Never> {
        Task {
            _ = try? await connection.call(
                .change(
                    "/chat/stop", ["id": .text(message.chatID), "message_id": .text(message.id)]),
                timeout: Connection.stopTimeout, as: Reply.self)
        }
    }
}
