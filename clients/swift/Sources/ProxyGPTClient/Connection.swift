// The HTTP calls of one client: which request, how often, and what its answer means.
//
// Owns two HTTP clients, one of which gives up connections that are silent, and the token. Errors
// quote neither the token nor the address.

internal import AsyncHTTPClient
internal import NIOCore
internal import NIOHTTP1
internal import Synchronization

#if canImport(FoundationEssentials)
    internal import FoundationEssentials
#else
    internal import Foundation
#endif

/// One call of the API, however often it is sent.
struct Request: Sendable {
    enum Field: Sendable, Equatable, Encodable {
        case text(String)
        case number(Int)
        case boolean(Bool)
        case list([String])

        func encode(to encoder: any Encoder) throws {
            var container = encoder.singleValueContainer()
            switch self {
            case .text(let text): try container.encode(text)
            case .number(let number): try container.encode(number)
            case .boolean(let isTrue): try container.encode(isTrue)
            case .list(let texts): try container.encode(texts)
            }
        }
    }

    let path: String
    let fields: [String: Field]
    /// A read has its fields in the query, everything else as JSON.
    let isRead: Bool
    /// With a key the request may be sent again.
    var idempotencyKey: String?
    /// The token is left out.
    var isAnonymous = false

    /// A request that changes nothing.
    static func read(_ path: String, _ fields: [String: Field?] = [:]) -> Request {
        Request(path: path, fields: fields.compactMapValues { $0 }, isRead: true)
    }

    /// A request that changes something.
    static func change(_ path: String, _ fields: [String: Field?] = [:]) -> Request {
        Request(path: path, fields: fields.compactMapValues { $0 }, isRead: false)
    }

    var isRepeatable: Bool { isRead || idempotencyKey != nil }

    /// The query of a read.
    var query: String {
        fields.sorted { $0.key < $1.key }.map { name, field in
            let value =
                switch field {
                case .text(let text): text
                case .number(let number): "\(number)"
                case .boolean(let isTrue): "\(isTrue)"
                case .list(let texts): texts.joined(separator: ",")
                }
            return "\(name)=\(value.percentEncoded)"
        }.joined(separator: "&")
    }
}

/// A field that is left out where it is not given.
func optional(_ text: String?) -> Request.Field? { text.map { .text($0) } }

/// A field that is left out where it is not given.
func optional(_ number: Int?) -> Request.Field? { number.map { .number($0) } }

/// The part of a list that is wanted, as fields of a request.
func pageFields(_ limit: Int?, _ before: String?, _ after: String?) -> [String: Request.Field?] {
    ["limit": optional(limit), "before": optional(before), "after": optional(after)]
}

/// Makes calls, and opens streams.
final class Connection: Sendable {
    typealias Pause = @Sendable (Duration) async throws -> Void

    /// The time for the call that stops a reply whose stream was given up.
    static let stopTimeout = Duration.seconds(10)
    /// The most bytes of an answer.
    private static let answerLimit = 64 << 20

    let base: String
    let maxRetries: Int
    let silenceTimeout: Duration
    let pause: Pause
    private let timeout: Duration
    private let calls: HTTPClient
    private let streams: HTTPClient
    private let currentToken: Mutex<String?>

    init(
        _ address: String, token: String?, maxRetries: Int, timeout: Duration,
        silenceTimeout: Duration, pause: @escaping Pause
    ) throws {
        base = try Self.baseAddress(address)
        if let token { try Self.check(token) }
        currentToken = Mutex(token)
        self.maxRetries = maxRetries
        self.timeout = timeout
        self.silenceTimeout = silenceTimeout
        self.pause = pause
        var configuration = HTTPClient.Configuration(redirectConfiguration: .disallow)
        configuration.httpVersion = .http1Only
        // Shorter than a server keeps a connection that nobody uses.
        configuration.connectionPool.idleTimeout = .seconds(30)
        configuration.connectionPool.retryConnectionEstablishment = false
        // Streams take a connection each.
        configuration.connectionPool.concurrentHTTP1ConnectionsPerHostSoftLimit = 10_000
        calls = HTTPClient(configuration: configuration)
        configuration.timeout.read = TimeAmount(silenceTimeout)
        streams = HTTPClient(configuration: configuration)
    }

    deinit {
        // Nothing is under way: every call and every stream holds this object.
        calls.shutdown { _ in }
        streams.shutdown { _ in }
    }

    // MARK: - The token

    var token: String? { currentToken.withLock { $0 } }

    func setToken(_ token: String) throws(ProxyGPTError) {
        try Self.check(token)
        currentToken.withLock { $0 = token }
    }

    /// Drops the token, unless there is another one by now.
    func forgetToken(_ token: String?) {
        currentToken.withLock { if $0 == token { $0 = nil } }
    }

    /// A header takes no other characters, and an error of the HTTP client would quote the token.
    private static func check(_ token: String) throws(ProxyGPTError) {
        guard !token.isEmpty, token.utf8.allSatisfy({ (0x21...0x7E).contains($0) }) else {
            throw ProxyGPTError(
                code: "invalid_argument",
                "A token consists of printing ASCII characters without spaces.")
        }
    }

    /// The address without a slash at its end.
    private static func baseAddress(_ address: String) throws(ProxyGPTError) -> String {
        let address = address.trimmed
        guard let url = URLComponents(string: address),
            url.scheme == "http" || url.scheme == "https",
            url.host?.isEmpty == false
        else {
            throw ProxyGPTError(
                code: "invalid_argument",
                "The server's address must be that of an HTTP server, such as https://api.example.org."
            )
        }
        guard url.user == nil, url.password == nil, url.query == nil, url.fragment == nil else {
            throw ProxyGPTError(
                code: "invalid_argument",
                "The server's address must have no credential, no query and no fragment.")
        }
        var bytes = Array(address.utf8)
        while bytes.last == UInt8(ascii: "/") { bytes.removeLast() }
        return String(decoding: bytes, as: UTF8.self)
    }

    // MARK: - Calls

    /// Makes a call, again where that is safe and may help, and decodes its answer.
    func call<Answer: Decodable>(
        _ request: Request, timeout: Duration? = nil, as: Answer.Type = Answer.self
    ) async throws -> Answer {
        let timeout = timeout ?? self.timeout
        let deadline = ContinuousClock.now + timeout
        var attempt = 0
        while true {
            do {
                return try await once(request, until: deadline, of: timeout)
            } catch let error as ProxyGPTError {
                guard request.isRepeatable, attempt < maxRetries, error.mayPass else { throw error }
                let delay = error.retryAfter.map { .seconds($0) } ?? backoff(attempt)
                guard ContinuousClock.now + delay < deadline else { throw error }
                attempt += 1
                try await pause(delay)
            }
        }
    }

    /// The answer of a call that has none but its success.
    struct Nothing: Decodable, Sendable {}

    private func once<Answer: Decodable>(
        _ request: Request, until deadline: ContinuousClock.Instant, of timeout: Duration
    ) async throws -> Answer {
        let (status, headers, body) = try await withThrowingTaskGroup(of: Answered.self) { group in
            group.addTask { try await self.answer(request, timeout: timeout) }
            group.addTask {
                try await Task.sleep(until: deadline, clock: .continuous)
                throw ProxyGPTError(code: "timeout", "The server gave no answer in \(timeout).")
            }
            defer { group.cancelAll() }
            guard let first = try await group.next() else { throw CancellationError() }
            return first
        }
        let requestID = headers["x-request-id"].first
        guard status == 200 else {
            throw ProxyGPTError(
                status: status, requestID: requestID, retryAfter: headers["retry-after"].first,
                body: body, now: Date())
        }
        do {
            return try JSONDecoder.forAnswers().decode(Answer.self, from: Data(body))
        } catch {
            throw ProxyGPTError.unexpectedAnswer(
                status: status, "The server's answer is not one of the API.", requestID: requestID)
        }
    }

    private typealias Answered = (status: Int, headers: HTTPHeaders, body: [UInt8])

    private func answer(_ request: Request, timeout: Duration) async throws -> Answered {
        try await Self.mappingErrors {
            // The task of the deadline is to end first: it says what the time was.
            let response = try await self.calls.execute(
                self.httpRequest(request), timeout: TimeAmount(timeout) + .seconds(1))
            let body = try await response.body.collect(upTo: Self.answerLimit)
            return (Int(response.status.code), response.headers, Array(body.readableBytesView))
        }
    }

    private func httpRequest(_ request: Request) throws -> HTTPClientRequest {
        var address = base + request.path
        if request.isRead, !request.fields.isEmpty { address += "?\(request.query)" }
        var http = HTTPClientRequest(url: address)
        http.headers.add(name: "Accept", value: "application/json")
        if !request.isRead {
            http.method = .POST
            http.headers.add(name: "Content-Type", value: "application/json")
            http.body = .bytes(Array(try JSONEncoder().encode(request.fields)))
        }
        if let key = request.idempotencyKey {
            http.headers.add(name: "Idempotency-Key", value: key)
        }
        if !request.isAnonymous, let token {
            http.headers.add(name: "Authorization", value: "Bearer \(token)")
        }
        return http
    }

    // MARK: - Streams

    /// Opens the stream of a chat, behind the event of that id unless that is empty.
    func open(_ chat: String, after id: String) async throws
        -> HTTPClientResponse.Body.AsyncIterator
    {
        let response = try await Self.mappingErrors {
            var http = try self.httpRequest(.change("/chat/stream", ["id": .text(chat)]))
            http.headers.replaceOrAdd(name: "Accept", value: "text/event-stream")
            if !id.isEmpty { http.headers.add(name: "Last-Event-ID", value: id) }
            return try await self.streams.execute(http, timeout: TimeAmount(self.silenceTimeout))
        }
        let (status, headers) = (Int(response.status.code), response.headers)
        guard status == 200 else {
            let body = try await Self.mappingErrors {
                Array(try await response.body.collect(upTo: 1 << 20).readableBytesView)
            }
            throw ProxyGPTError(
                status: status, requestID: headers["x-request-id"].first,
                retryAfter: headers["retry-after"].first, body: body, now: Date())
        }
        let kind = headers["content-type"].first?.prefix { $0 != ";" } ?? ""
        guard String(kind).trimmed.lowercased() == "text/event-stream" else {
            throw ProxyGPTError.unexpectedAnswer(
                status: status, "The server did not answer with a stream of events.",
                requestID: headers["x-request-id"].first)
        }
        return response.body.makeAsyncIterator()
    }

    /// The next piece of a stream; nil at its end.
    static func next(
        of body: inout HTTPClientResponse.Body.AsyncIterator
    ) async throws -> ByteBuffer? {
        do {
            let piece = try await body.next()
            try Task.checkCancellation()
            return piece
        } catch {
            throw mapped(error)
        }
    }

    private static func mappingErrors<Value: Sendable>(
        _ body: @Sendable () async throws -> Value
    ) async throws -> Value {
        do {
            return try await body()
        } catch {
            throw mapped(error)
        }
    }

    /// An error of the network as one of this package. The end of the task goes before everything else.
    private static func mapped(_ error: any Error) -> any Error {
        if Task.isCancelled { return CancellationError() }
        if error is CancellationError || error is ProxyGPTError { return error }
        guard let error = error as? HTTPClientError else {
            return ProxyGPTError.connection("\(error)")
        }
        return ProxyGPTError.connection(
            error == .readTimeout ? "the server was silent for too long" : error.shortDescription)
    }
}

extension TimeAmount {
    fileprivate init(_ duration: Duration) {
        let (seconds, attoseconds) = duration.components
        self = .seconds(seconds) + .nanoseconds(attoseconds / 1_000_000_000)
    }
}

extension String {
    /// The text as it stands in a query (RFC 3986, section 2.3).
    var percentEncoded: String {
        let digits = Array("0123456789ABCDEF".utf8)
        var encoded: [UInt8] = []
        for byte in utf8 {
            switch byte {
            case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, 0x2D, 0x2E, 0x5F, 0x7E: encoded.append(byte)
            default: encoded += [0x25, digits[Int(byte >> 4)], digits[Int(byte & 0xF)]]
            }
        }
        return String(decoding: encoded, as: UTF8.self)
    }
}
