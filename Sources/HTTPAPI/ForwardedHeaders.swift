internal import ProxyGPT

/// Which headers pass between client and upstream.
enum ForwardedHeaders {
    private static let requestNames = Names([
        "content-type", "accept", "accept-language", "openai-beta", "idempotency-key", "user-agent",
        "traceparent", "tracestate", "baggage", "b3",
    ])
    private static let requestPrefixes = ["x-stainless-", "x-b3-"]

    /// Hop-by-hop (RFC 9110, section 7.6.1), cookies of a foreign host, whose account it is, and
    /// what would steer our web server or the client's browser in the name of our origin.
    private static let droppedNames = Names([
        "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection",
        "te", "trailer", "transfer-encoding", "upgrade", "set-cookie", "openai-organization",
        "openai-project", "status", "alt-svc", "strict-transport-security", "clear-site-data",
        "refresh", "server", "date", "x-content-type-options", "content-security-policy",
        "x-upstream-request-id",
    ])
    private static let droppedPrefixes = ["x-accel-", "access-control-"]

    /// Names in small letters, by their length: most that come are told apart by that alone.
    private struct Names: Sendable {
        private let byLength: [[String]]

        init(_ names: [String]) {
            var byLength = [[String]](
                repeating: [], count: 1 + (names.map(\.utf8.count).max() ?? 0))
            for name in names { byLength[name.utf8.count].append(name) }
            self.byLength = byLength
        }

        func contains(_ name: String) -> Bool {
            let length = name.utf8.count
            return length < byLength.count
                && byLength[length].contains { equalIgnoringCase($0, name) }
        }
    }

    /// What of the client's headers goes upstream.
    static func request(_ headers: [Header]) -> [Header] {
        headers.filter { header in
            requestNames.contains(header.name)
                || requestPrefixes.contains { hasPrefixIgnoringCase(header.name, $0) }
        }
    }

    /// What of the upstream's headers goes to the client, the key masked wherever it is quoted.
    static func response(_ head: UpstreamHead, mask: KeyMask) -> [Header] {
        let named = namesForNextHop(head)
        var headers: [Header] = []
        headers.reserveCapacity(head.headers.count + 6)
        for header in head.headers {
            let name = header.name
            if droppedNames.contains(name)
                || droppedPrefixes.contains(where: { hasPrefixIgnoringCase(name, $0) })
                || named.contains(where: { equalIgnoringCase($0, name) })
            {
                continue
            }
            let isRequestID = equalIgnoringCase(name, "X-Request-Id")
            headers.append(
                Header(isRequestID ? "X-Upstream-Request-Id" : name, mask.masked(header.value)))
        }
        headers.append(Header("X-Content-Type-Options", "nosniff"))
        headers.append(Header("Content-Security-Policy", "sandbox; default-src 'none'"))
        return headers
    }

    /// `Connection` may name further headers that are for the next hop alone.
    private static func namesForNextHop(_ head: UpstreamHead) -> [String] {
        head.headers.filter { equalIgnoringCase($0.name, "Connection") }
            .flatMap { $0.value.utf8.split { $0 == UInt8(ascii: ",") || $0 == 0x20 || $0 == 0x09 } }
            .compactMap { String($0) }
    }
}
