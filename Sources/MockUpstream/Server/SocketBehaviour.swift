import Formats

/// The options of a single WebSocket, beside those that its handshake shares with other calls.
struct SocketBehaviour: Equatable {
    var closeCode: UInt16?
    var closeReason = ""
    /// The messages to take before the close.
    var closeAfter = 0
    /// Data frames that are sent before the connection is cut.
    var cutAfter: Int?
    /// Unsolicited frames to send, and their size.
    var chunks = 0
    var bytes = 16
    var chunkDelay = 0
    var isEndless = false
    /// The subprotocol to choose; nil for the first that is offered.
    var subprotocol: String?
    var pings = false
    var isSilent = false
    var isDeaf = false
    var quotesKey = false
    var sendsBadFrame = false
    var hasWrongAccept = false

    init(_ query: Substring) throws(Behaviour.BadOption) {
        for (rawName, rawValue) in QueryParameters(query) {
            let name = rawName.hasPrefix("mock-") ? rawName.dropFirst(5) : rawName
            let option = Behaviour.Option(name: name, rawValue: rawValue)
            switch name {
            case "close-code": closeCode = UInt16(try option.integer(0...65535))
            case "close-reason": closeReason = try option.text()
            case "close-after": closeAfter = try option.integer(0...10_000_000)
            case "cut-after": cutAfter = try option.integer(0...10_000_000)
            case "chunks": chunks = try option.integer(0...10_000_000)
            case "bytes": bytes = try option.integer(0...1 << 26)
            case "chunk-delay-ms": chunkDelay = try option.integer(0...3_600_000)
            case "endless": isEndless = try option.flag()
            case "subprotocol": subprotocol = try option.headerValue()
            case "ping": pings = try option.flag()
            case "silent": isSilent = try option.flag()
            case "deaf": isDeaf = try option.flag()
            case "quote-key": quotesKey = try option.flag()
            case "bad-frame": sendsBadFrame = try option.flag()
            case "wrong-accept": hasWrongAccept = try option.flag()
            default: break
            }
        }
    }
}

/// The record of a WebSocket.
struct SocketRow {
    /// The request's headers as they came.
    var headers: [Header]
    var frames = 0
    var messages = 0
    var pings = 0
    var pongs = 0
    var hasBrokenProtocol = false
    var closeCode: Int?
    var closeReason: String?

    var json: JSONValue {
        [
            "headers": .array(headers.map { [.string($0.name), .string($0.value)] }),
            "frames": .integer(frames), "messages": .integer(messages), "pings": .integer(pings),
            "pongs": .integer(pongs), "broken": .boolean(hasBrokenProtocol),
            "close_code": closeCode.map { .integer($0) } ?? .null,
            "close_reason": .text(closeReason),
        ]
    }
}
