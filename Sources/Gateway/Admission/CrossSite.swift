package import Credentials
internal import Formats
package import Logging
package import ProxyGPT

/// Keeps foreign web pages from acting with a user's cookie, and lets chosen ones call (CORS).
package struct CrossSite: Sendable {
    /// What pages of an allowed origin may read beside the headers that all may.
    private static let exposedHeaders =
        ([
            "X-Request-Id", "X-Upstream-Request-Id", "Retry-After", "retry-after-ms",
            "x-should-retry",
        ]
        + ["limit", "remaining", "reset"].flatMap { figure in
            ["requests", "tokens"].map { "x-ratelimit-\(figure)-\($0)" }
        } + [
            "RateLimit", "RateLimit-Policy", "RateLimit-Limit", "RateLimit-Remaining",
            "RateLimit-Reset", "Server-Timing",
        ]).joined(separator: ", ")

    private let publicOrigins: [WebOrigin]
    private let corsOrigins: [WebOrigin]
    private let isServedSecurely: Bool
    private let report: OriginReport?

    /// - Parameter logger: where an operator finds the setting that a refused page lacks.
    package init(_ settings: Settings, logger: Logger? = nil) {
        report = logger.map { OriginReport($0) }
        publicOrigins = settings.publicOrigins.compactMap { WebOrigin($0) }
        corsOrigins = settings.corsOrigins.compactMap(Self.origin)
        isServedSecurely = publicOrigins.allSatisfy { $0.text.utf8.starts(with: "https:".utf8) }
    }

    private static func origin(_ text: String) -> WebOrigin? {
        equalIgnoringCase(text, WebOrigin.opaque.text) ? .opaque : WebOrigin(text)
    }

    // MARK: - The page's origin

    /// Throws `forbidden` when a page of a foreign origin made this request.
    package func checkOrigin(of request: Request) throws(Failure) {
        if isForeign(request) { throw refusal(of: request) }
    }

    /// As `checkOrigin`, but a page of an allowed origin passes: for what gives and takes tokens, and not
    /// the cookie.
    package func checkCaller(of request: Request) throws(Failure) {
        if isForeign(request), allowedOrigin(of: request) == nil { throw refusal(of: request) }
    }

    /// As `checkOrigin`, for a WebSocket: a page of any origin may open one, and reads what comes. One
    /// that may call (CORS) may open it, though not with a cookie.
    package func checkUpgrade(
        of request: Request, with credentials: [PresentedCredential]
    ) throws(Failure) {
        if case .cookie = credentials.first {
            try checkOrigin(of: request)
        } else {
            try checkCaller(of: request)
        }
    }

    /// Throws `forbidden` where a link, an image or a foreign page would log out with the cookie.
    package func checkLogout(of request: Request) throws(Failure) {
        try checkOrigin(of: request)
        guard request.method != "POST" else { return }
        let asksForPage = request.values(of: "Accept").contains { value in
            value.utf8.split { $0 == UInt8(ascii: ",") || $0 == UInt8(ascii: ";") }.contains {
                $0.drop { $0 == 0x20 || $0 == 0x09 }.map(lowerCase).starts(with: "text/html".utf8)
            }
        }
        if asksForPage {
            throw Failure(.forbidden, "A link cannot log out. Send a POST, or the token.")
        }
    }

    /// Whether a page of another origin made this request. One of the same site is another, as its cookies
    /// are not ours to trust.
    package func isForeign(_ request: Request) -> Bool {
        let origins = request.values(of: "Origin")
        guard origins.allSatisfy({ isOwn($0, request) }) else { return true }
        guard let site = request.value(of: "Sec-Fetch-Site") else { return false }
        if equalIgnoringCase(site, "same-origin") || equalIgnoringCase(site, "none") {
            return false
        }
        // Of several origins of our own one may call another.
        return !(equalIgnoringCase(site, "same-site") && !origins.isEmpty && !publicOrigins.isEmpty)
    }

    private func isOwn(_ text: String, _ request: Request) -> Bool {
        guard let origin = WebOrigin(text) else { return false }
        if !publicOrigins.isEmpty { return publicOrigins.contains(origin) }
        guard origin == ownOrigin(request) else { return false }
        // Any owner of a name may point it at this address, so that a foreign page seems to be ours.
        return origin.host.isLocalOrAddress
            || ServerName(request.serverName)?.matches(origin.host) == true
    }

    /// Where the request was sent to, by its own account.
    private func ownOrigin(_ request: Request) -> WebOrigin? {
        request.value(of: "Host").flatMap { WebOrigin(scheme: request.scheme, host: $0) }
    }

    /// Names the setting that makes the page's origin one of ours.
    private func refusal(of request: Request) -> Failure {
        let origins = request.values(of: "Origin")
        let origin = origins.count == 1 ? WebOrigin(origins[0]) : nil
        let isNamed = origin.map { publicOrigins.contains($0) } ?? false
        let lacking = isNamed || origin?.isHTTP != true ? nil : origin
        report?.refused(request, remedy: lacking.map { setting(with: $0) })
        return Failure(
            .forbidden,
            "A page of another origin may not do this with the cookie. "
                + (lacking.map { "Where \($0.text) is our own, PUBLIC_ORIGINS must name it." }
                    ?? "PUBLIC_ORIGINS names the origins that are our own."))
    }

    /// What the setting would have to be for `origin` to be one of ours.
    private func setting(with origin: WebOrigin) -> String {
        "PUBLIC_ORIGINS=" + (publicOrigins + [origin]).map(\.text).joined(separator: ",")
    }

    /// Throws `misdirected` where a request is for a name that is none of ours, if we know ours.
    package func checkHost(of request: Request) throws(Failure) {
        let serverName = ServerName(request.serverName)
        guard !publicOrigins.isEmpty || serverName != nil,
            let text = request.value(of: "Host"), !text.utf8.isEmpty
        else { return }
        if let host = HostName(ofHeader: text),
            host.isLocalOrAddress || publicOrigins.contains(where: { $0.host == host })
                || serverName?.matches(host) == true
        {
            return
        }
        report?.refused(request, remedy: nil)
        throw Failure(
            .misdirected,
            "This name is not served here. PUBLIC_ORIGINS and nginx's server_name say which are.")
    }

    /// Whether the cookie must stay off plain connections.
    package func isSecure(_ request: Request) -> Bool {
        publicOrigins.isEmpty ? request.scheme == "https" : isServedSecurely
    }

    // MARK: - Pages that may call

    /// The headers that let a page of an allowed origin read the answer; none for others.
    package func headers(for request: Request) -> [Header] {
        guard let origin = allowedOrigin(of: request) else { return [] }
        return [
            Header("Access-Control-Allow-Origin", origin), Header("Vary", "Origin"),
            Header("Access-Control-Expose-Headers", Self.exposedHeaders),
        ]
    }

    /// The answer to a browser's question whether a page may call; nil when it is none. A browser asks
    /// without a credential, and a page that may not call gets the answer for a missing credential.
    package func preflight(_ request: Request) -> Response? {
        guard request.method == "OPTIONS", request.value(of: "Origin") != nil,
            request.value(of: "Access-Control-Request-Method") != nil
        else { return nil }
        guard allowedOrigin(of: request) != nil else {
            let hasCredential = ["Authorization", "Cookie"].contains {
                request.value(of: $0) != nil
            }
            return hasCredential ? nil : Response(Failure.missingCredential)
        }
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
        guard !corsOrigins.isEmpty else { return nil }
        let origins = request.values(of: "Origin")
        guard origins.count == 1, let origin = Self.origin(origins[0]),
            corsOrigins.contains(origin)
        else { return nil }
        return origins[0]
    }
}
