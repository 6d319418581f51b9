import Formats

/// What an endpoint answers, before the call's behaviour is applied to it.
struct Answer {
    /// A body as one block, or made piece by piece while it is sent.
    enum Content {
        case whole([UInt8])
        case pieces(any PieceSource, byteCount: Int?)
    }

    var status = 200
    var contentType = "application/json"
    var headers: [Header] = []
    var content: Content
    /// The WebSocket that begins instead of a body.
    var socket: SocketOpening?

    init(status: Int = 200, _ json: JSONValue) {
        self.status = status
        content = .whole(json.encoded)
    }

    init(contentType: String, _ content: Content) {
        self.contentType = contentType
        self.content = content
    }
}

/// Makes the pieces of a body one after another.
protocol PieceSource {
    /// The next piece, or nothing when the body is complete.
    mutating func next() -> Piece?
}

/// Bytes that leave in one write.
struct Piece {
    var bytes: [UInt8]
    /// Whether the piece counts for `cut-after` and waits for `chunk-delay-ms`.
    var isCounted = true
}

/// A body cut into pieces of nearly the same size.
struct SplitBody: PieceSource {
    private var rest: ArraySlice<UInt8>
    private var piecesLeft: Int

    init(_ bytes: [UInt8], pieces: Int) {
        rest = bytes[...]
        piecesLeft = max(1, min(pieces, bytes.count))
    }

    mutating func next() -> Piece? {
        guard piecesLeft > 0, !rest.isEmpty else { return nil }
        let bytes = rest.prefix((rest.count + piecesLeft - 1) / piecesLeft)
        rest = rest.dropFirst(bytes.count)
        piecesLeft -= 1
        return Piece(bytes: Array(bytes))
    }
}

/// A binary body that holds all 256 values, made while it is sent.
struct BytePattern: PieceSource {
    private let byteCount: Int
    private let pieceSize: Int
    private var offset = 0

    init(byteCount: Int, pieces: Int?) {
        self.byteCount = byteCount
        let even = pieces.map { (byteCount + max(1, $0) - 1) / max(1, $0) }
        pieceSize = max(1, even ?? 65536)
    }

    mutating func next() -> Piece? {
        guard offset < byteCount else { return nil }
        let end = min(offset + pieceSize, byteCount)
        // The pattern shifts by a byte every 256, so that a lost or doubled block is noticed.
        let bytes = (offset..<end).map { UInt8(truncatingIfNeeded: $0 &+ $0 >> 8) }
        offset = end
        return Piece(bytes: bytes)
    }
}

/// An error of a call, in the form of OpenAI's or Azure's.
struct Refusal: Error {
    var status: Int
    var message: String
    var type = "invalid_request_error"
    var parameter: String?
    var code: String?

    /// The error body; Azure's own errors know neither type nor parameter.
    func answer(inAzureShape: Bool = false) -> Answer {
        if inAzureShape {
            let code = code ?? String(status)
            return Answer(
                status: status, ["error": ["code": .string(code), "message": .string(message)]])
        }
        return Answer(status: status, ["error": members])
    }

    /// The members of an error of OpenAI's.
    var members: JSONValue {
        [
            "message": .string(message), "type": .string(type),
            "param": .text(parameter), "code": .text(code),
        ]
    }

    /// The error that OpenAI would give with that status.
    static func demanded(_ status: Int) -> Refusal {
        let (message, type, code): (String, String, String?) =
            switch status {
            case 401: ("Incorrect API key provided.", "invalid_request_error", "invalid_api_key")
            case 403:
                ("You are not allowed to sample from this model", "invalid_request_error", nil)
            case 404:
                ("The model `mock` does not exist", "invalid_request_error", "model_not_found")
            case 429: ("Rate limit reached for requests", "requests", "rate_limit_exceeded")
            case 500:
                ("The server had an error while processing your request", "server_error", nil)
            case 503: ("The engine is currently overloaded", "server_error", nil)
            default: ("Answer \(status) on demand", "invalid_request_error", nil)
            }
        return Refusal(status: status, message: message, type: type, code: code)
    }
}
