package import Formats
package import ProxyGPT

/// One request as the web server passed it on.
package struct Request: Sendable {
    /// The id in answer, log and event; the web server chose it.
    package let id: String
    package let method: String
    /// Path and query as they came, undecoded; U+FFFD stands for what is no UTF-8.
    package let target: String
    /// The whole target, where it is no UTF-8.
    let rawTarget: [UInt8]?
    package var headers: [Header]
    /// As the web server says, never by a header of the client.
    package let clientAddress: String
    /// `http` or `https`.
    package let scheme: String
    /// What the web server calls the server that it chose by the `Host`; empty where it has no name.
    package let serverName: String
    package let contentLength: Int64?
    package let body: any BodySource
    /// The worker has no room for the request: it is to be refused.
    package let isRefused: Bool
    /// The web server has found that the request comes from an operator.
    package let isOperators: Bool
    /// The web server asks whether it may take the body of the call that has these headers, which
    /// follows by itself.
    package let asksAdmission: Bool

    package init(
        id: String, method: String, target: String, rawTarget: [UInt8]? = nil, headers: [Header],
        clientAddress: String, scheme: String, serverName: String = "", contentLength: Int64?,
        body: any BodySource, isRefused: Bool = false, isOperators: Bool = false,
        asksAdmission: Bool = false
    ) {
        self.isOperators = isOperators
        self.asksAdmission = asksAdmission
        self.id = id
        // One byte more than may be, so that it is seen to be too long.
        self.method = method.beginning(bytes: Event.Limit.method + 1)
        self.target = target
        self.rawTarget = rawTarget
        self.headers = headers
        self.clientAddress = clientAddress.beginning(bytes: Event.Limit.clientAddress)
        self.scheme = scheme
        self.serverName = serverName
        self.contentLength = contentLength
        self.body = body
        self.isRefused = isRefused
    }

    /// The path of the target as it came, undecoded and unchecked.
    package var path: Substring { target.beginning(before: "?") }

    /// How many header fields a request may have: not every web server bounds more than their bytes, which
    /// have room for thousands, and each is inspected.
    package static let headerLimit = 1000

    /// Throws `invalidRequest` for a method that no row has room for, and for too many headers.
    package func checkHead() throws(Failure) {
        guard headers.count <= Self.headerLimit else {
            throw Failure(
                .invalidRequest, "A request has at most \(Self.headerLimit) header fields.")
        }
        guard method.utf8.count <= Event.Limit.method, method.utf8.allSatisfy({ $0 < 0x80 }) else {
            throw Failure(
                .invalidRequest, "A method has at most \(Event.Limit.method) letters.")
        }
    }

    /// The whole body. Throws `tooLarge` beyond `limit` bytes.
    package func wholeBody(limit: Int64) async throws -> [UInt8] {
        let tooLarge = Failure(.tooLarge, "The body is larger than \(limit) bytes.")
        guard contentLength ?? 0 <= limit else { throw tooLarge }
        var bytes: [UInt8] = []
        while let piece = try await body.next() {
            bytes.append(contentsOf: piece)
            guard bytes.count <= limit else { throw tooLarge }
        }
        return bytes
    }

    /// All values of a header, compared without regard to case.
    package func values(of name: String) -> [String] {
        headers.lazy.filter { equalIgnoringCase($0.name, name) }.map(\.value)
    }

    package func value(of name: String) -> String? {
        headers.first { equalIgnoringCase($0.name, name) }?.value
    }
}

/// Where an answer goes: the web server's connection.
package protocol ResponseWriter: Sendable {
    /// Takes the head; it leaves with the first flush, or at the end. Called once, first.
    func begin(status: Int, headers: [Header]) async throws(ClientGone)

    /// Takes bytes of the body and suspends while the client does not read. Whether they leave at
    /// once is `flush`'s to say. An empty array with `flush` sends what was taken before.
    func write(_ bytes: [UInt8], flush: Bool) async throws(ClientGone)

    /// Sends the rest and ends the answer.
    func finish() async

    /// Ends the answer so that the client sees that it is not whole.
    func abort() async

    /// Whether this server itself gave the request up, because it stops; else the client left.
    func isStopped() async -> Bool
}

/// Thrown by a writer whose client is no longer there.
package struct ClientGone: Error {
    package init() {}
}

/// A whole answer.
package struct Response: Sendable {
    package var status: Int
    package var headers: [Header]
    package var body: [UInt8]

    package init(status: Int = 200, headers: [Header] = [], body: [UInt8] = []) {
        self.status = status
        self.headers = headers
        self.body = body
    }

    /// A JSON answer that no cache keeps.
    package init(status: Int = 200, json: JSONValue) {
        self.init(status: status, encoded: json.encoded)
    }

    /// As before, of JSON that is encoded already.
    package init(status: Int = 200, encoded json: [UInt8]) {
        self.init(
            status: status,
            headers: [
                Header("Content-Type", "application/json"),
                Header("Cache-Control", "private, no-store"),
                Header("X-Content-Type-Options", "nosniff"),
            ],
            body: json)
    }

    /// The answer for a failure, in the shape that OpenAI's clients understand.
    package init(_ failure: Failure) {
        var error: [(name: String, value: JSONValue)] = [
            ("message", .string(failure.message)), ("type", .string(failure.type)),
            ("param", .text(failure.parameter)), ("code", .string(failure.codeText)),
        ]
        if let words = failure.upstream?.message {
            error.append(("upstream_message", .string(words)))
        }
        self.init(status: failure.status, json: ["error": .object(error)])
        if let seconds = failure.retryAfter {
            headers.append(Header("Retry-After", String(seconds)))
        }
        if let allow = failure.allow { headers.append(Header("Allow", allow)) }
        // RFC 9110, section 15.5.22: what the client may go on with.
        if failure.code == .upgradeRequired { headers.append(Header("Upgrade", "HTTP/1.1")) }
        if failure.code == .unauthorized {
            headers.append(Header("WWW-Authenticate", "Bearer"))
        }
        // Clients repeat a 502 by themselves; a wrong key of the operator's is wrong the next time too.
        if failure.code == .upstreamAuthentication {
            headers.append(Header("x-should-retry", "false"))
        }
    }
}
