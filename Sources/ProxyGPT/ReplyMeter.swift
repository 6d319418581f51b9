/// Tokens that a call used, as the upstream counts them.
package struct Usage: Sendable, Equatable {
    package let promptTokens: Int64?
    package let completionTokens: Int64?

    package init(promptTokens: Int64?, completionTokens: Int64?) {
        self.promptTokens = promptTokens
        self.completionTokens = completionTokens
    }

    /// Reads a reply's `usage` member; nil when it is null or says nothing.
    package init?(json bytes: [UInt8]) {
        guard let value = try? JSONValue(parsing: bytes) else { return nil }
        // The Responses API says input and output where the others say prompt and completion.
        promptTokens = (value["prompt_tokens"] ?? value["input_tokens"])?.integerValue
        completionTokens = (value["completion_tokens"] ?? value["output_tokens"])?.integerValue
        if promptTokens == nil && completionTokens == nil { return nil }
    }
}

/// Reads token counts off a reply while it passes by, without altering or holding it: a JSON text,
/// or server-sent events of which the last that carries usage counts.
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
        let type = (contentType ?? "").prefix { $0 != ";" }.lowercased()
        shape =
            switch type.split(separator: " ").first.map(String.init) {
            case "application/json": .json
            case "text/event-stream": .events
            default: .other
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

    /// Takes what the last text told. Called once after the last byte.
    package mutating func finish() {
        takeFindings()
    }

    private mutating func feedEvents(_ bytes: [UInt8]) {
        for byte in bytes {
            if byte == 0x0A || byte == 0x0D {
                if column > Self.dataField.count, isDataLine { takeFindings() }
                scanner.reset()
                column = 0
                isDataLine = true
                continue
            }
            if column < Self.dataField.count {
                isDataLine = isDataLine && byte == Self.dataField[column]
            } else if isDataLine {
                scanner.feed(CollectionOfOne(byte))
            }
            column += 1
        }
    }

    private mutating func takeFindings() {
        if let bytes = scanner.found["usage"], let usage = Usage(json: bytes) { self.usage = usage }
        if model == nil, let bytes = scanner.found["model"] {
            model = (try? JSONValue(parsing: bytes))?.stringValue
        }
    }
}
