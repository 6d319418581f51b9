internal import Credentials
internal import ProxyGPT

/// Keeps foreign web pages from acting with a user's cookie, and lets chosen ones call (CORS).
struct CrossSite: Sendable {
    private let publicOrigins: [String]
    private let corsOrigins: [String]

    init(_ settings: Settings) {
        publicOrigins = settings.publicOrigins
        corsOrigins = settings.corsOrigins
    }

    /// Throws `forbidden` when a page of a foreign origin made this request.
    func checkOrigin(of request: Request) throws(Failure) {
        let site = request.value(of: "Sec-Fetch-Site")?.lowercased()
        let isForeign = request.values(of: "Origin").contains { !isOwn($0, request) }
        if isForeign || site == "cross-site" {
            throw Failure(.forbidden, "A page of another origin may not do this with the cookie.")
        }
    }

    /// As `checkOrigin`, for a WebSocket: a page of any origin may open one, and reads what comes. One
    /// that may call (CORS) may open it, though not with a cookie.
    func checkUpgrade(
        of request: Request, with credential: PresentedCredential
    ) throws(Failure) {
        if case .cookie = credential {
            try checkOrigin(of: request)
        } else if allowedOrigin(of: request) == nil {
            try checkOrigin(of: request)
        }
    }

    private func isOwn(_ origin: String, _ request: Request) -> Bool {
        let origin = Self.withoutDefaultPort(origin.lowercased())
        if !publicOrigins.isEmpty {
            return publicOrigins.contains { Self.withoutDefaultPort($0) == origin }
        }
        guard let host = request.value(of: "Host")?.lowercased() else { return false }
        return origin == Self.withoutDefaultPort("\(request.scheme)://\(host)")
    }

    private static func withoutDefaultPort(_ origin: String) -> String {
        if origin.hasPrefix("http://"), origin.hasSuffix(":80") {
            return String(origin.dropLast(3))
        }
        if origin.hasPrefix("https://"), origin.hasSuffix(":443") {
            return String(origin.dropLast(4))
        }
        return origin
    }

    /// Whether the cookie must stay off plain connections.
    func isSecure(_ request: Request) -> Bool {
        publicOrigins.isEmpty
            ? request.scheme == "https" : publicOrigins.allSatisfy { $0.hasPrefix("https://") }
    }

    /// The headers that let a page of an allowed origin read the answer; none for others.
    func headers(for request: Request) -> [Header] {
        guard let origin = allowedOrigin(of: request) else { return [] }
        return [
            Header("Access-Control-Allow-Origin", origin), Header("Vary", "Origin"),
            Header("Access-Control-Expose-Headers", "X-Request-Id, Retry-After"),
        ]
    }

    /// The answer to a browser's question whether it may call; nil when it is none, or not allowed.
    func preflight(_ request: Request) -> Response? {
        guard request.method == "OPTIONS", allowedOrigin(of: request) != nil,
            request.value(of: "Access-Control-Request-Method") != nil
        else { return nil }
        return Response(
            status: 204,
            headers: [
                Header("Access-Control-Allow-Methods", "GET, HEAD, POST, PUT, PATCH, DELETE"),
                Header(
                    "Access-Control-Allow-Headers",
                    request.value(of: "Access-Control-Request-Headers")
                        ?? "Authorization, Content-Type"),
                Header("Access-Control-Max-Age", "600"),
            ])
    }

    private func allowedOrigin(of request: Request) -> String? {
        guard !corsOrigins.isEmpty, let origin = request.value(of: "Origin"),
            corsOrigins.contains(origin.lowercased())
        else { return nil }
        return origin
    }
}
