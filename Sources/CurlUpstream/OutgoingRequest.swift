internal import Formats
internal import ProxyGPT

/// A call in the pieces that libcurl wants, checked so that nothing can break out of its line.
struct OutgoingRequest {
    /// The destination of a request.
    struct Target: Equatable {
        let isSecure: Bool
        /// Without the brackets of an IPv6 address.
        let host: String
        let port: Int
        /// Scheme and authority, as they stood in the address.
        let origin: String
        /// Path and query, sent byte by byte as they stood there.
        let path: [UInt8]
    }

    let method: String
    let target: Target
    /// Whole header lines in libcurl's own form, each with a zero byte behind it, the key not among them.
    var lines: [[UInt8]]

    /// Headers that are made here, even if the caller has set them.
    private static let own = [
        "host", "content-length", "transfer-encoding", "connection", "expect", "authorization",
        "api-key", "proxy-authorization", "te", "upgrade", "keep-alive",
    ]

    init(_ call: UpstreamCall) throws(UpstreamFailure) {
        guard !call.method.isEmpty, call.method.utf8.allSatisfy(isTokenByte) else {
            throw .unreachable("the method is no token")
        }
        method = call.method
        target = try Self.target(of: call.url)
        var lines: [[UInt8]] = []
        lines.reserveCapacity(call.headers.count + 4)
        var namesType = false
        var namesAccept = false
        for header in call.headers where Self.canBeSent(header) {
            namesType = namesType || equalIgnoringCase(header.name, "content-type")
            namesAccept = namesAccept || equalIgnoringCase(header.name, "accept")
            lines.append(Self.line(header))
        }
        if !namesAccept { lines.append(Self.line("Accept:")) }
        if call.body != nil || Self.announcesBody(call.method) {
            if !namesType { lines.append(Self.line("Content-Type:")) }
            lines.append(Self.line("Expect:"))
        }
        self.lines = lines
    }

    /// A header's line. A colon without a value would take the header away, see CURLOPT_HTTPHEADER.
    private static func line(_ header: Header) -> [UInt8] {
        var line: [UInt8] = []
        line.reserveCapacity(header.name.utf8.count + header.value.utf8.count + 3)
        line.append(contentsOf: header.name.utf8)
        if header.value.utf8.allSatisfy({ $0 == 0x20 || $0 == 0x09 }) {
            line.append(UInt8(ascii: ";"))
        } else {
            line.append(contentsOf: ": ".utf8)
            header.appendValue(to: &line)
        }
        line.append(0)
        return line
    }

    /// A line that is there already.
    static func line(_ text: String) -> [UInt8] {
        Array(text.utf8) + [0]
    }

    /// Whether a request without a body needs `Content-Length: 0` (RFC 9110, 8.6).
    static func announcesBody(_ method: String) -> Bool {
        method == "POST" || method == "PUT" || method == "PATCH"
    }

    /// Whether a request may be sent again without the client's consent: RFC 9110, 9.2.1.
    static func isSafe(_ method: String) -> Bool {
        method == "GET" || method == "HEAD" || method == "OPTIONS"
    }

    private static func canBeSent(_ header: Header) -> Bool {
        header.isWellFormed && !own.contains { equalIgnoringCase($0, header.name) }
    }

    /// Takes an address apart: a scheme, a host in brackets or not, a port or none, the rest.
    static func target(of url: [UInt8]) throws(UpstreamFailure) -> Target {
        guard url.allSatisfy({ $0 > 0x20 && $0 != 0x7F }) else {
            throw .unreachable("the address has white space or control characters")
        }
        let isSecure = url.starts(with: "https://".utf8)
        guard isSecure || url.starts(with: "http://".utf8) else {
            throw .unreachable("the address has another scheme than http and https")
        }
        let rest = url.dropFirst(isSecure ? 8 : 7)
        let authority = rest.prefix { !"/?#".utf8.contains($0) }
        let path = rest[authority.endIndex...]
        guard !authority.contains(UInt8(ascii: "@")) else {
            throw .unreachable("the address holds a user name")
        }
        let parts: HostAndPort
        do throws(HostAndPort.Problem) {
            parts = try HostAndPort(authority)
        } catch {
            throw .unreachable("the address \(error.rawValue)")
        }
        return Target(
            isSecure: isSecure, host: parts.hostText,
            port: Int(parts.port ?? (isSecure ? 443 : 80)),
            origin: text(url[..<authority.endIndex]),
            path: path.first == UInt8(ascii: "/") ? Array(path) : [UInt8(ascii: "/")] + path)
    }

    private static func text(_ bytes: ArraySlice<UInt8>) -> String {
        String(decoding: bytes, as: UTF8.self)
    }
}
