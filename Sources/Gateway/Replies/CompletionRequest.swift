internal import Formats
internal import ProxyGPT

/// The body of a chat completion.
struct CompletionRequest {
    package let model: String
    package let turns: [Turn]
    /// Whether the stream is to end with the token counts. Older servers refuse to be asked.
    let wantsUsage: Bool

    var body: [UInt8] {
        let messages = turns.map { turn -> JSONValue in
            ["role": .string(turn.role.rawValue), "content": .string(turn.content)]
        }
        var members: [(name: String, value: JSONValue)] = [
            ("model", .string(model)), ("messages", .array(messages)), ("stream", true),
        ]
        if wantsUsage { members.append(("stream_options", ["include_usage": true])) }
        return JSONValue.object(members).encoded
    }

    package static let headers = [
        Header("Content-Type", "application/json"),
        Header("Accept", "text/event-stream, application/json"),
    ]
}

/// A body that is there already.
final class WholeBody: BodySource {
    private let bytes: TakenOnce<[UInt8]>
    let length: Int64?

    init(_ bytes: [UInt8]) {
        length = Int64(bytes.count)
        self.bytes = TakenOnce(bytes)
    }

    func next() async throws -> [UInt8]? {
        bytes.take().flatMap { $0.isEmpty ? nil : $0 }
    }
}
