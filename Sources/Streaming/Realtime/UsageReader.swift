internal import Formats
internal import ProxyGPT

/// Reads token counts and the model off the text messages of an upstream while they pass by, without
/// holding them: those of the events that end a response, the counts added up.
struct UsageReader {
    /// What the realtime API calls the end, and what the responses API does.
    private static let endings = [
        "response.done", "response.completed", "response.incomplete", "response.failed",
    ]

    private var scanner = JSONFieldScanner(wanted: ["type", "usage", "model"])
    private(set) var usage: Usage?
    /// The model of the last response that reported its usage.
    private(set) var model: String?

    mutating func feed(_ piece: [UInt8]) {
        scanner.feed(piece)
    }

    /// The message is whole.
    mutating func endMessage() {
        defer { scanner.reset() }
        guard let bytes = scanner.found["usage"], isEnding,
            let told = Usage(json: bytes)
        else { return }
        usage = Usage(
            promptTokens: Self.sum(usage?.promptTokens, told.promptTokens),
            completionTokens: Self.sum(usage?.completionTokens, told.completionTokens))
        model = text(of: "model") ?? model
    }

    private var isEnding: Bool {
        guard let type = text(of: "type") else { return false }
        return Self.endings.contains { $0.utf8.elementsEqual(type.utf8) }
    }

    private func text(of member: String) -> String? {
        scanner.found[member].flatMap { (try? JSONValue(parsing: $0))?.stringValue }
    }

    /// Foreign numbers: none below nothing, and no overflow.
    private static func sum(_ one: Int64?, _ other: Int64?) -> Int64? {
        guard let other, other >= 0 else { return one }
        return min((one ?? 0), 1 << 50) + min(other, 1 << 50)
    }
}
