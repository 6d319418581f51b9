import Credentials
import Formats
import NIOCore
import NIOHTTP1

/// A request with its body, as the endpoints see it.
struct Call {
    let method: String
    let uri: String
    let target: RequestTarget
    let headers: HTTPHeaders
    let route: Route
    var body: RequestBody

    init(_ head: HTTPRequestHead) {
        method = head.method.rawValue
        uri = head.uri
        target = RequestTarget(head.uri)
        headers = head.headers
        route = Route(method: method, path: target.path)
        body = RequestBody(for: route.endpoint, headers: head.headers)
    }

    func header(_ name: String) -> String? {
        headers.first(name: name)
    }

    /// The key of the call, from either header.
    var presentedKey: String? {
        header("api-key") ?? bearerKey
    }

    var bearerKey: String? {
        guard let value = header("authorization"), value.lowercased().hasPrefix("bearer ") else {
            return nil
        }
        return String(value.dropFirst(7))
    }

    /// A number that depends on the body alone, so that equal requests get equal answers.
    var fingerprint: String { MockUpstream.fingerprint(of: body.bytes) }
}

/// A number that depends on the bytes alone, as text.
func fingerprint(of bytes: [UInt8]) -> String {
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    for byte in bytes { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
    return hash.hexadecimal
}

extension UInt64 {
    /// Sixteen digits, the highest first.
    var hexadecimal: String { withUnsafeBytes(of: bigEndian) { $0.hexadecimal } }
}

/// A request's body: kept, digested or read as a form, as the endpoint needs it.
struct RequestBody {
    private(set) var byteCount = 0
    /// The kept bytes: all of a JSON body, the beginning of any other.
    private(set) var bytes: [UInt8] = []
    private(set) var digest: RunningSHA256?
    private(set) var form: MultipartReader?
    private let limit: Int

    /// JSON bodies beyond this are refused; no test needs them.
    static let jsonLimit = 64 << 20
    static let echoLimit = 64 << 10

    init(for endpoint: Endpoint, headers: HTTPHeaders) {
        switch endpoint {
        case .chat, .completions, .responses, .embeddings:
            limit = RequestBody.jsonLimit
        case .echo:
            limit = RequestBody.echoLimit
            digest = RunningSHA256()
        case .upload:
            limit = 0
            digest = RunningSHA256()
            form = headers.first(name: "content-type")
                .flatMap { MultipartReader.boundary(inContentType: $0) }
                .map { MultipartReader(boundary: $0) }
        default:
            limit = 0
        }
    }

    /// Whether all bytes have been kept.
    var isKeptWhole: Bool { bytes.count == byteCount }

    mutating func take(_ buffer: ByteBuffer) {
        let view = buffer.readableBytesView
        byteCount += view.count
        bytes += view.prefix(max(0, limit - bytes.count))
        digest?.update(buffer.readableBytesUInt8Span)
        form?.update(view)
    }
}
