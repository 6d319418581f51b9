// The steps before a request is handled, for own endpoints, streams, calls of the upstream and its
// WebSockets alike: `enter`, `admit`, `checkPath`. A new condition on all requests has its place here.

package import Credentials
package import Logging
package import ProxyGPT

/// Lets requests in.
package struct Admission: Sendable {
    /// A request whose head is in order.
    package enum Entrance: Sendable {
        case target(RequestTarget)
        /// The answer to a browser's question whether a page may call: no credential comes with it.
        case preflight(Response)
    }

    package let authenticator: Authenticator
    package let crossSite: CrossSite
    private let paths: PathPolicy

    package init(_ settings: Settings, store: any Store, clock: any Clock, logger: Logger) {
        authenticator = Authenticator(settings, store: store, clock: clock)
        crossSite = CrossSite(settings, logger: logger)
        paths = settings.paths
    }

    /// Checks a request by what needs no credential.
    /// Throws `invalidRequest` or `misdirected`.
    package func enter(_ request: Request) throws(Failure) -> Entrance {
        try request.checkHead()
        let target = try RequestTarget(of: request)
        try crossSite.checkHost(of: request)
        return crossSite.preflight(request).map { .preflight($0) } ?? .target(target)
    }

    /// Finds the caller, by the first credential that is good.
    /// Throws `unauthorized`, and `forbidden` where a foreign page made the request.
    /// - Parameters:
    ///   - token: a credential that came beside the headers.
    ///   - opensWebSocket: whether a WebSocket is what the request gets: a page of any origin may open one.
    package func admit(
        _ request: Request, token: String? = nil, opensWebSocket: Bool = false
    ) async throws -> (caller: Caller, credential: PresentedCredential) {
        let credentials = try authenticator.credentials(of: request, parameter: token)
        if opensWebSocket {
            try crossSite.checkUpgrade(of: request, with: credentials)
        } else if case .cookie = credentials.first,
            !["GET", "HEAD", "OPTIONS"].contains(request.method)
        {
            // A browser adds the cookie by itself, also for a page that is not ours.
            try crossSite.checkOrigin(of: request)
        }
        return try await authenticator.caller(credentials)
    }

    /// Throws `pathClosed` for a path of the upstream that is not open here.
    package func checkPath(of target: RequestTarget) throws(Failure) {
        try paths.check(target)
    }

    /// Headers that every answer to this request has.
    package func commonHeaders(_ request: Request) -> [Header] {
        [Header("X-Request-Id", request.id)] + crossSite.headers(for: request)
    }
}
