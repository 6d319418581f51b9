internal import EventLoop
package import ProxyGPT
internal import Synchronization

/// Keeps what a log delivers.
package final class Delivery: Sendable {
    private let state = Mutex((frames: [LoggedFrame](), starts: 0, sinceStart: 0))

    package var frames: [LoggedFrame] { state.withLock { $0.frames } }
    /// How often it was said that everybody has to start over.
    package var starts: Int { state.withLock { $0.starts } }
    /// The frames since that was said last.
    package var newFrames: [LoggedFrame] { state.withLock { Array($0.frames[$0.sinceStart...]) } }

    package init(_ log: any BusLog) async throws {
        try await log.start { batch in
            self.state.withLock { state in
                if batch.isEmpty {
                    state.starts += 1
                    state.sinceStart = state.frames.count
                }
                state.frames += batch
            }
        }
    }

    package func text(of message: String) -> String {
        joinedDeltas(frames, of: message)
    }

    /// Waits until the messages have ended.
    package func ends(_ messages: some Sequence<String>) async throws {
        let messages = Set(messages.map { Message.ID($0) })
        try await eventually {
            messages.isSubset(of: self.frames.filter(\.frame.isEnd).map(\.frame.messageID))
        }
    }
}

/// What the frames say of a message.
package func joinedDeltas(_ frames: [LoggedFrame], of message: String) -> String {
    var text = ""
    for frame in frames where frame.frame.messageID.text == message {
        if case .delta(let words, _) = frame.frame.content { text += words }
    }
    return text
}

package func delta(
    _ text: String, of message: String, in chat: String = "chat", prompt: String? = nil
) -> StreamFrame {
    StreamFrame(
        chatID: Chat.ID(chat), messageID: Message.ID(message), userID: User.ID("user"),
        .delta(text, prompt: prompt))
}

package func beginning(of message: String, in chat: String = "chat") -> StreamFrame {
    delta("", of: message, in: chat, prompt: "prompt of \(message)")
}

package func end(of message: String, in chat: String = "chat") -> StreamFrame {
    StreamFrame(
        chatID: Chat.ID(chat), messageID: Message.ID(message), userID: User.ID("user"), .ended)
}

/// The words of a test's reply, numbered so that a hole or a repetition shows.
package func numbered(_ range: Range<Int>) -> String {
    range.map { "\($0) " }.joined()
}

extension Bus {
    /// Publishes a whole reply of numbered words.
    package func publishReply(_ message: String, in chat: String = "chat", words count: Int) {
        publish(beginning(of: message, in: chat))
        for index in 0..<count {
            publish(TestSupport.delta("\(index) ", of: message, in: chat))
        }
        publish(end(of: message, in: chat))
    }
}

/// Lets two processes publish replies `m0` and `m1` word by word, numbered in turns, while subscribers
/// come and resume one after another.
///
/// - Returns: what they saw, one's history following on the other's, and what the log delivered, which
///   is started in the middle.
package func resumeAgainAndAgain(
    _ log: any BusLog, while buses: [any Bus]
) async throws -> (seen: [LoggedFrame], delivery: Delivery) {
    let chat = Chat.ID("chat")
    let hasBeenRead = Gate()
    defer { hasBeenRead.open() }
    async let published: Void = {
        for index in 0..<400 {
            buses[index % 2].publish(
                delta("\(index) ", of: "m\(index % 2)", prompt: index < 2 ? "p" : nil))
            await EventLoop.sleep(milliseconds: 1)
        }
        await hasBeenRead.wait()
        for (index, bus) in buses.enumerated() { bus.publish(end(of: "m\(index)")) }
    }()
    let delivery = try await Delivery(log)
    var seen: [LoggedFrame] = []
    var newest: Int64 { seen.last?.id.sequence ?? 0 }
    try await eventually {
        seen = try await log.runningFrames(of: chat).frames
        return !seen.isEmpty
    }
    hasBeenRead.open()
    for _ in 0..<50 {
        await EventLoop.sleep(milliseconds: 3)
        let registered = delivery.frames.count
        guard let id = seen.last?.id, let history = try await log.frames(of: chat, after: id)
        else { throw Impatience() }
        seen += history
        seen += delivery.frames[registered...].filter { $0.id.sequence > newest }
    }
    _ = await published
    try await delivery.ends(["m0", "m1"])
    return (seen + delivery.frames.filter { $0.id.sequence > newest }, delivery)
}

extension [LoggedFrame] {
    /// Whether the ids only grow, within one epoch.
    package var areInOrder: Bool {
        zip(self, dropFirst()).allSatisfy {
            $0.id.epoch == $1.id.epoch && $0.id.sequence < $1.id.sequence
        }
    }
}
