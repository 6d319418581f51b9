internal import Formats

/// The tokens of a call, as the upstream counts them.
package struct Usage: Sendable, Equatable {
    package let promptTokens: Int64?
    package let completionTokens: Int64?

    package init(promptTokens: Int64?, completionTokens: Int64?) {
        self.promptTokens = promptTokens
        self.completionTokens = completionTokens
    }

    /// Reads a reply's `usage` member; nil when it is null or has no counts.
    package init?(json bytes: [UInt8]) {
        guard let value = try? JSONValue(parsing: bytes) else { return nil }
        // The Responses API has input and output where the others have prompt and completion.
        promptTokens = (value["prompt_tokens"] ?? value["input_tokens"])?.integerValue
        completionTokens = (value["completion_tokens"] ?? value["output_tokens"])?.integerValue
        if promptTokens == nil && completionTokens == nil { return nil }
    }
}

/// Reads token counts from a reply that is passed on, without changing or holding it: from a JSON
/// text, or from the last server-sent event with usage.
package struct ReplyMeter: Sendable {
    private enum Shape: Sendable {
        case json
        case events
        case other
    }

    private static let dataField = Array("data:".utf8)

    private let shape: Shape
    private var scanner = JSONFieldScanner(wanted: ["usage", "model"])
    private var column = 0
    private var isDataLine = true

    package private(set) var usage: Usage?
    package private(set) var model: String?

    package init(contentType: String?) {
        let type = contentType ?? ""
        if hasPrefixIgnoringCase(type, "application/json") {
            shape = .json
        } else if hasPrefixIgnoringCase(type, "text/event-stream") {
            shape = .events
        } else {
            shape = .other
        }
    }

    /// Whether the reply is a stream of events.
    package var readsEvents: Bool { shape == .events }

    package mutating func feed(_ bytes: [UInt8]) {
        switch shape {
        case .json: scanner.feed(bytes)
        case .events: feedEvents(bytes)
        case .other: break
        }
    }

    /// Takes the counts of the last text. Called once after the last byte.
    package mutating func finish() {
        takeFindings()
    }

    private mutating func feedEvents(_ bytes: [UInt8]) {
        var index = 0
        while index < bytes.count {
            let end = bytes[index...].firstIndex { $0 == 0x0A || $0 == 0x0D } ?? bytes.count
            feedLine(bytes[index..<end])
            if end < bytes.count { endLine() }
            index = end + 1
        }
    }

    private mutating func feedLine(_ part: ArraySlice<UInt8>) {
        var rest = part
        while column < Self.dataField.count, let byte = rest.first {
            isDataLine = isDataLine && byte == Self.dataField[column]
            column += 1
            rest = rest.dropFirst()
        }
        if isDataLine { scanner.feed(rest) }
    }

    private mutating func endLine() {
        takeFindings()
        scanner.reset()
        column = 0
        isDataLine = true
    }

    private mutating func takeFindings() {
        if let bytes = scanner.found["usage"], let usage = Usage(json: bytes) { self.usage = usage }
        if model == nil, let bytes = scanner.found["model"] {
            model = (try? JSONValue(parsing: bytes))?.stringValue
        }
    }
}
