/// The frames of a chat, for everybody in it, until the task is cancelled or the right to read the chat ends.
///
/// A connection that breaks is replaced by another, without a lost or a repeated frame; where that is not
/// possible there is a frame of the kind `reset`.
public struct ChatFrames: AsyncSequence, Sendable {
    public typealias Element = Frame

    let connection: Connection
    let chat: String
    let after: String

    public func makeAsyncIterator() -> Iterator {
        Iterator(subscription: Subscription(connection, chat: chat, after: after))
    }

    public struct Iterator: AsyncIteratorProtocol {
        let subscription: Subscription
        private var ends = RememberedEnds()
        private var isOver = false

        init(subscription: Subscription) {
            self.subscription = subscription
        }

        /// Waits until the subscription stands: every message that ends from then on is a frame. `next` does
        /// so by itself.
        public mutating func begin() async throws {
            try await subscription.begin()
        }

        /// Waits for the next frame; nil after an error.
        /// - Throws: a `ProxyGPTError`, of status 401 after a log-out and 404 when the chat is no longer the
        ///   user's to read; `CancellationError` where the task is cancelled.
        public mutating func next() async throws -> Frame? {
            if isOver { return nil }
            do {
                while true {
                    let event = try await subscription.next()
                    if event.name == "reset" {
                        ends = RememberedEnds()
                        return Frame(kind: .reset, id: event.id, message: nil, partial: false)
                    }
                    guard let frame = try MessageFrame(event), !ends.isRepeated(frame) else {
                        continue
                    }
                    return Frame(
                        kind: .message, id: event.id, message: frame.message, partial: frame.partial
                    )
                }
            } catch {
                isOver = true
                subscription.close()
                throw error
            }
        }
    }
}

/// The newest final frames. A resumed stream may repeat one.
struct RememberedEnds {
    /// Final frames that are remembered.
    static let limit = 1000

    private var known: [String: Message] = [:]
    private var order: [String] = []

    /// Whether a frame is a final one that came before. Remembers it.
    mutating func isRepeated(_ frame: MessageFrame) -> Bool {
        var message = frame.message
        // The time and the state tell one end from another.
        message.reply = ""
        if frame.partial {
            // The reply runs again.
            if known.removeValue(forKey: message.id) != nil { order.removeAll { $0 == message.id } }
            return false
        }
        let last = known.updateValue(message, forKey: message.id)
        if last == message { return true }
        if last == nil { order.append(message.id) }
        if order.count > Self.limit { known[order.removeFirst()] = nil }
        return false
    }
}
