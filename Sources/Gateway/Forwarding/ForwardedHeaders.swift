internal import Formats
package import ProxyGPT

/// Which headers pass between client and upstream.
package enum ForwardedHeaders {
    private static let requestNames = Names([
        "content-type", "content-encoding", "content-language", "accept", "accept-language",
        "openai-beta", "anthropic-version", "anthropic-beta", "idempotency-key", "prefer",
        "user-agent", "http-referer", "referer", "x-title", "originator", "session-id", "thread-id",
        "x-client-request-id", "range", "if-range", "if-match", "if-none-match",
        "if-modified-since", "if-unmodified-since", "traceparent", "tracestate", "baggage", "b3",
    ])
    private static let requestPrefixes = ["x-stainless-", "x-codex-", "x-b3-"]

    /// Hop-by-hop (RFC 9110, section 7.6.1), cookies of a foreign host, whose account it is, and
    /// what would steer our web server or the client's browser in the name of our origin.
    private static let droppedNames = Names([
        "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection",
        "te", "trailer", "transfer-encoding", "upgrade", "set-cookie", "set-cookie2",
        "openai-organization", "openai-project", "status", "x-sendfile", "server", "date",
        "alt-svc", "strict-transport-security", "clear-site-data", "refresh", "nel", "report-to",
        "reporting-endpoints", "x-content-type-options", "content-security-policy",
        "content-security-policy-report-only", "service-worker-allowed", "accept-ch",
        "critical-ch", "origin-trial", "onion-location", "public-key-pins",
        "public-key-pins-report-only", "expect-ct", "sourcemap", "x-sourcemap",
        "timing-allow-origin", "x-upstream-request-id", "surrogate-control", "cdn-cache-control",
        "cloudflare-cdn-cache-control",
    ])
    private static let droppedPrefixes = ["x-accel-", "access-control-", "cross-origin-"]

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
    /// - Parameter more: what the operator lets pass besides.
    package static func request(_ headers: [Header], _ more: HeaderNames) -> [Header] {
        headers.filter { header in
            requestNames.contains(header.name)
                || requestPrefixes.contains { hasPrefixIgnoringCase(header.name, $0) }
                || more.contains(header.name)
        }
    }

    /// What of the upstream's headers goes to the client, the key masked wherever it is quoted.
    package static func response(_ head: UpstreamHead, mask: KeyMask) -> [Header] {
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
            if equalIgnoringCase(name, "Cache-Control") {
                headers.append(masked(Header(name, personal(header.value)), as: name, by: mask))
                continue
            }
            let isRequestID = equalIgnoringCase(name, "X-Request-Id")
            headers.append(
                masked(header, as: isRequestID ? "X-Upstream-Request-Id" : name, by: mask))
        }
        headers.append(Header("Vary", "Authorization, Cookie"))
        headers.append(Header("X-Content-Type-Options", "nosniff"))
        headers.append(Header("Content-Security-Policy", "sandbox; default-src 'none'"))
        headers.append(Header("Cross-Origin-Resource-Policy", "same-origin"))
        return headers
    }

    /// What `Cache-Control` says, for one person alone (RFC 9111, section 5.2.2): a cache before us must not
    /// serve the answer to others.
    private static func personal(_ value: String) -> String {
        let elements = value.listElements
        let kept = elements.filter { !hasPrefixIgnoringCase($0, "s-maxage") }
        let isPublic = kept.contains { equalIgnoringCase($0, "public") }
        if !isPublic && kept.count == elements.count { return value }
        let others = kept.filter {
            !equalIgnoringCase($0, "public") && !equalIgnoringCase($0, "private")
        }
        return (["private"] + others).joined(separator: ", ")
    }

    private static func masked(_ header: Header, as name: String, by mask: KeyMask) -> Header {
        header.isText
            ? Header(name, mask.masked(header.value))
            : Header(name, bytes: mask.masked(header.bytes))
    }

    /// `Connection` may name further headers that are for the next hop alone.
    private static func namesForNextHop(_ head: UpstreamHead) -> [String] {
        head.headers.filter { equalIgnoringCase($0.name, "Connection") }
            .flatMap { $0.value.utf8.split { $0 == UInt8(ascii: ",") || $0 == 0x20 || $0 == 0x09 } }
            .compactMap { String($0) }
    }
}
