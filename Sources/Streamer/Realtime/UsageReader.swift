internal import ProxyGPT

/// Reads token counts off the text messages of a realtime upstream while they pass by: those of its
/// `response.done`, added up.
struct UsageReader {
    /// Within so many bytes a message says what it is.
    private static let beginningLimit = 512
    /// The longest `response.done` that is read; it repeats what was said.
    private static let messageLimit = 1024 * 1024
    private static let mark = "response.done"

    private var message: [UInt8] = []
    private var isWanted = true
    private(set) var usage: Usage?

    mutating func feed(_ piece: [UInt8]) {
        guard isWanted else { return }
        let isKnown = message.count >= Self.beginningLimit
        message += piece
        if message.count > Self.messageLimit {
            letGo()
        } else if !isKnown, message.count >= Self.beginningLimit, !isMarked {
            letGo()
        }
    }

    /// The message is whole.
    mutating func endMessage() {
        defer {
            message.removeAll(keepingCapacity: message.capacity <= 4096)
            isWanted = true
        }
        guard isWanted, isMarked, let value = try? JSONValue(parsing: message),
            value["type"]?.stringValue == Self.mark,
            let told = value["response"]?["usage"].flatMap({ Usage(json: $0.encoded) })
        else { return }
        usage = Usage(
            promptTokens: Self.sum(usage?.promptTokens, told.promptTokens),
            completionTokens: Self.sum(usage?.completionTokens, told.completionTokens))
    }

    private mutating func letGo() {
        isWanted = false
        message = []
    }

    private var isMarked: Bool {
        String(decoding: message.prefix(Self.beginningLimit), as: UTF8.self).contains(Self.mark)
    }

    /// Foreign numbers: none below nothing, and no overflow.
    private static func sum(_ one: Int64?, _ other: Int64?) -> Int64? {
        guard let other, other >= 0 else { return one }
        return min((one ?? 0), 1 << 50) + min(other, 1 << 50)
    }
}
