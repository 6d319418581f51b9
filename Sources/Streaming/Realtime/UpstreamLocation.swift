internal import ProxyGPT

/// Where a WebSocket of the upstream is, in the pieces that a connection wants.
struct UpstreamLocation: Equatable {
    let isSecure: Bool
    /// Without the brackets of an IPv6 address.
    let host: String
    let port: Int
    /// Host and port as they stand in the address.
    let authority: String
    /// Path and query, byte by byte as they stand there.
    let target: [UInt8]

    /// Takes an address apart that `UpstreamAddress` has made; nil for anything else.
    init?(_ url: [UInt8]) {
        isSecure = url.starts(with: "https://".utf8)
        guard isSecure || url.starts(with: "http://".utf8),
            url.allSatisfy({ $0 > 0x20 && $0 != 0x7F })
        else { return nil }
        let rest = url.dropFirst(isSecure ? 8 : 7)
        let authority = rest.prefix { $0 != UInt8(ascii: "/") && $0 != UInt8(ascii: "?") }
        let target = rest[authority.endIndex...]
        guard let parts = try? HostAndPort(authority) else { return nil }
        host = parts.hostText
        port = Int(parts.port ?? (isSecure ? 443 : 80))
        self.authority = Self.text(authority)
        self.target =
            target.first == UInt8(ascii: "/") ? Array(target) : [UInt8(ascii: "/")] + target
    }

    private static func text(_ bytes: ArraySlice<UInt8>) -> String {
        String(decoding: bytes, as: UTF8.self)
    }

    /// Host and port as a proxy wants them.
    var hostAndPort: String {
        host.utf8.contains(UInt8(ascii: ":")) ? "[\(host)]:\(port)" : "\(host):\(port)"
    }

    /// Whether the host is an address, which has no name that a certificate's could be.
    var isAddress: Bool {
        host.utf8.contains(UInt8(ascii: ":"))
            || host.utf8.allSatisfy { $0 == 0x2E || (0x30...0x39).contains($0) }
    }
}
