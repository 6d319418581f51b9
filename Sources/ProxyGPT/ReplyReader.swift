/// Reads a model's reply out of the upstream's answer to a chat completion, whether it comes as
/// events or as one JSON text: bytes in, words out.
package struct ReplyReader: Sendable {
    /// What is wrong with an answer.
    package enum Problem: Error, Sendable, Equatable {
        /// The upstream said in its answer what went wrong.
        case told(String)
        /// The answer is not what a model's server sends.
        case malformed
        /// The answer ended before the reply did.
        case incomplete
        /// The reply is longer than is kept.
        case tooLong
    }

    private static let bodyLimit = 2 * Message.replyLimit

    private let readsEvents: Bool
    private var events = ServerSentEventParser()
    private var body: [UInt8] = []
    private var hasEnded = false

    /// All words so far.
    package private(set) var reply = ""
    package private(set) var usage: Usage?

    package init(contentType: String?) {
        readsEvents = hasPrefixIgnoringCase(contentType ?? "", "text/event-stream")
    }

    /// Takes the next bytes and returns the words that they bring.
    package mutating func feed(_ bytes: [UInt8]) throws(Problem) -> String {
        guard readsEvents else {
            guard body.count + bytes.count <= Self.bodyLimit else { throw .tooLong }
            body += bytes
            return ""
        }
        let all: [[UInt8]]
        do {
            all = try events.feed(bytes)
        } catch {
            throw .tooLong
        }
        var words = ""
        for event in all { words += try read(event: event) }
        return words
    }

    /// Takes the end of the answer and returns the words that were left. Throws `incomplete` when
    /// neither the model nor the stream has said that it is done.
    package mutating func finish() throws(Problem) -> String {
        var words = ""
        if readsEvents {
            if let event = events.finish() { words = try read(event: event) }
            guard hasEnded else { throw .incomplete }
            return words
        }
        guard let json = try? JSONValue(parsing: body), case .object = json else {
            throw .malformed
        }
        body = []
        try checkError(json)
        note(usageIn: json)
        guard let choice = json["choices"]?.firstElement else { throw .malformed }
        words = Self.words(in: choice, "message")
        try add(words)
        return words
    }

    private mutating func read(event: [UInt8]) throws(Problem) -> String {
        if event.elementsEqual("[DONE]".utf8) {
            hasEnded = true
            return ""
        }
        guard let json = try? JSONValue(parsing: event), case .object = json else {
            throw .malformed
        }
        try checkError(json)
        note(usageIn: json)
        // Azure begins with an event that has no choices, and usage comes in one as well.
        guard let choice = json["choices"]?.firstElement else { return "" }
        if choice["finish_reason"]?.stringValue != nil { hasEnded = true }
        let words = Self.words(in: choice, "delta")
        try add(words)
        return words
    }

    /// What a message or a part of one says; a refusal is said, too. Without null characters, which
    /// not every database takes.
    private static func words(in choice: JSONValue, _ member: String) -> String {
        let message = choice[member]
        let words =
            message?["content"]?.stringValue ?? message?["refusal"]?.stringValue
            ?? choice["text"]?.stringValue ?? ""
        guard words.utf8.contains(0) else { return words }
        return String(String.UnicodeScalarView(words.unicodeScalars.filter { $0 != "\0" }))
    }

    private mutating func add(_ words: String) throws(Problem) {
        guard reply.utf8.count + words.utf8.count <= Message.replyLimit else { throw .tooLong }
        reply += words
    }

    private func checkError(_ json: JSONValue) throws(Problem) {
        if let sentence = Self.error(in: json) { throw .told(sentence) }
    }

    private mutating func note(usageIn json: JSONValue) {
        if let usage = json["usage"], case .object = usage {
            self.usage = Usage(json: usage.encoded) ?? self.usage
        }
    }

    /// What an answer says in its member `error`; nil when it has none.
    package static func error(in json: JSONValue) -> String? {
        switch json["error"] {
        case nil, .null: nil
        case .string(let text): text
        case .some(let error): error["message"]?.stringValue ?? "no reason given"
        }
    }
}

extension JSONValue {
    fileprivate var firstElement: JSONValue? {
        if case .array(let elements) = self { elements.first } else { nil }
    }
}
