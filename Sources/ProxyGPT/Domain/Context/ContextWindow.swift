/// One entry of what is sent to a model.
package struct Turn: Sendable, Equatable {
    package enum Role: String, Sendable {
        case user
        case assistant
    }

    package let role: Role
    package let content: String

    package init(_ role: Role, _ content: String) {
        self.role = role
        self.content = content
    }
}

/// The newest messages of a chat that go upstream, of one version of the chat's context.
///
/// Messages are in order and without gaps; older ones may be missing. The maker of a window leaves
/// out messages that are off the record, failed, running or empty.
package struct ContextWindow: Sendable, Equatable {
    /// The part of a message that goes upstream.
    package struct Entry: Sendable, Equatable {
        package let seq: Int64
        package let prompt: String
        package let reply: String
        package let tokens: Int

        package init(_ message: Message) {
            seq = message.seq
            prompt = message.prompt
            reply = message.reply
            tokens =
                TokenEstimate.tokens(in: prompt) + TokenEstimate.tokens(in: reply)
                + 2 * TokenEstimate.perTurn
        }

        init(seq: Int64, prompt: String, reply: String, tokens: Int) {
            self.seq = seq
            self.prompt = prompt
            self.reply = reply
            self.tokens = tokens
        }

        /// Bytes in memory, roughly.
        package var size: Int { prompt.utf8.count + reply.utf8.count + 96 }
    }

    /// The `chats.context_version` that the window belongs to.
    package private(set) var version: Int64
    /// Oldest first.
    package private(set) var entries: [Entry]
    /// Whether no older message fits or exists, so that a greater limit brings no more.
    package private(set) var isExhausted: Bool
    /// Whether older messages were left out because of the budget.
    package private(set) var isCut = false
    /// The most tokens.
    package let budget: Int
    private var tokens: Int

    /// - Parameters:
    ///   - messages: the newest messages that count as context, newest first.
    ///   - limit: the number of messages that was read.
    ///   - budget: the most tokens.
    package init(version: Int64, newestFirst messages: [Message], limit: Int, budget: Int) {
        self.version = version
        self.budget = budget
        entries = []
        tokens = 0
        isExhausted = messages.count < limit
        for message in messages {
            let entry = Entry(message)
            guard tokens + entry.tokens <= budget else {
                isExhausted = true
                isCut = true
                break
            }
            entries.append(entry)
            tokens += entry.tokens
        }
        entries.reverse()
    }

    /// A decoded window, see `init(encoded:)`.
    init(version: Int64, entries: [Entry], isExhausted: Bool, isCut: Bool, budget: Int) {
        self.version = version
        self.entries = entries
        self.isExhausted = isExhausted
        self.isCut = isCut
        self.budget = budget
        tokens = entries.reduce(0) { $0 + $1.tokens }
    }

    /// Whether this window has the newest `limit` messages.
    package func covers(_ limit: Int) -> Bool {
        isExhausted || entries.count >= limit
    }

    /// The newest `limit` messages as turns, oldest first.
    package func turns(_ limit: Int) -> [Turn] {
        entries.suffix(max(0, limit)).flatMap { entry in
            [Turn(.user, entry.prompt), Turn(.assistant, entry.reply)]
        }
    }

    /// The window with one more ended message, which made the context `version`. Nil when there
    /// were other changes between, so that the store must be read.
    package func adding(_ message: Message, version: Int64) -> ContextWindow? {
        guard version == self.version &+ 1 else { return nil }
        var window = self
        window.version = version
        guard message.countsAsContext else { return window }
        let entry = Entry(message)
        // Replies end in any order; messages are in the order of their prompts.
        let place = entries.lastIndex { $0.seq <= entry.seq }.map { $0 + 1 } ?? 0
        // There may be older messages, unless the window reaches back to the beginning.
        guard place > 0 || entries.isEmpty && !isCut else { return nil }
        guard place == 0 || entries[place - 1].seq != entry.seq else { return window }
        window.entries.insert(entry, at: place)
        window.tokens += entry.tokens
        window.trim()
        return window
    }

    /// Drops the oldest messages until the rest fits the budget and the largest limit.
    private mutating func trim() {
        var dropped = 0
        while tokens > budget, dropped < entries.count {
            tokens -= entries[dropped].tokens
            dropped += 1
            isExhausted = true
            isCut = true
        }
        while entries.count - dropped > Self.greatestLimit {
            tokens -= entries[dropped].tokens
            dropped += 1
            isExhausted = false
        }
        entries.removeFirst(dropped)
    }

    /// The largest number of messages in a request.
    package static let greatestLimit = 1000

    /// Bytes in memory, roughly.
    package var size: Int { entries.reduce(128) { $0 + $1.size } }
}

extension Message {
    /// Whether the message goes upstream with later prompts.
    package var countsAsContext: Bool {
        !isOffRecord && (state == .done || state == .stopped) && !reply.isEmpty
    }
}
