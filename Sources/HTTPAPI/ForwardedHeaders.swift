internal import ProxyGPT

/// Which headers pass between client and upstream.
enum ForwardedHeaders {
    private static let requestNames: Set<String> = [
        "content-type", "accept", "accept-language", "openai-beta", "idempotency-key", "user-agent",
        "traceparent", "tracestate", "baggage", "b3",
    ]
    private static let requestPrefixes = ["x-stainless-", "x-b3-"]

    /// Hop-by-hop (RFC 9110, section 7.6.1), cookies of a foreign host, whose account it is, and
    /// what would steer our web server or the client's browser in the name of our origin.
    private static let droppedNames: Set<String> = [
        "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection",
        "te", "trailer", "transfer-encoding", "upgrade", "set-cookie", "openai-organization",
        "openai-project", "status", "alt-svc", "strict-transport-security", "clear-site-data",
        "refresh", "server", "date", "x-content-type-options", "content-security-policy",
        "x-upstream-request-id",
    ]
    private static let droppedPrefixes = ["x-accel-", "access-control-"]

    /// What of the client's headers goes upstream.
    static func request(_ headers: [Header]) -> [Header] {
        headers.filter { header in
            let name = header.name.lowercased()
            return requestNames.contains(name) || requestPrefixes.contains { name.hasPrefix($0) }
        }
    }

    /// What of the upstream's headers goes to the client, the key masked wherever it is quoted.
    static func response(_ head: UpstreamHead, mask: KeyMask) -> [Header] {
        // Connection may name further headers that are for the next hop alone.
        let named = Set(
            head.headers.filter { equalIgnoringCase($0.name, "Connection") }
                .flatMap { $0.value.lowercased().split(separator: ",") }
                .map { String($0.filter { $0 != " " && $0 != "\t" }) })
        var headers: [Header] = []
        for header in head.headers {
            let name = header.name.lowercased()
            if droppedNames.contains(name) || named.contains(name)
                || droppedPrefixes.contains(where: { name.hasPrefix($0) })
            {
                continue
            }
            let value = mask.masked(header.value)
            headers.append(
                Header(name == "x-request-id" ? "X-Upstream-Request-Id" : header.name, value))
        }
        headers.append(Header("X-Content-Type-Options", "nosniff"))
        headers.append(Header("Content-Security-Policy", "sandbox; default-src 'none'"))
        return headers
    }
}
