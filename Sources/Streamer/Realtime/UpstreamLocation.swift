/// Where a WebSocket of the upstream is, in the pieces that a connection wants.
struct UpstreamLocation: Equatable {
    let isSecure: Bool
    /// Without the brackets of an IPv6 address.
    let host: String
    let port: Int
    /// Host and port as they stand in the address.
    let authority: String
    /// Path and query, byte by byte as they stand there.
    let target: String

    /// Takes an address apart that `UpstreamAddress` has made; nil for anything else. The query is the
    /// client's: all cuts are between bytes.
    init?(_ url: String) {
        let bytes = url.utf8
        isSecure = bytes.starts(with: "https://".utf8)
        guard isSecure || bytes.starts(with: "http://".utf8),
            bytes.allSatisfy({ $0 > 0x20 && $0 != 0x7F })
        else { return nil }
        let rest = bytes.dropFirst(isSecure ? 8 : 7)
        let authority = rest.prefix { $0 != UInt8(ascii: "/") && $0 != UInt8(ascii: "?") }
        let target = rest[authority.endIndex...]
        var host = authority
        var port: Substring.UTF8View?
        if authority.first == UInt8(ascii: "["),
            let end = authority.firstIndex(of: UInt8(ascii: "]"))
        {
            host = authority[..<end].dropFirst()
            port = authority[authority.index(after: end)...]
        } else if let colon = authority.firstIndex(of: UInt8(ascii: ":")) {
            host = authority[..<colon]
            port = authority[colon...]
        }
        var number = UInt16(isSecure ? 443 : 80)
        if let port, let first = port.first {
            guard first == UInt8(ascii: ":"),
                let given = UInt16(Self.text(port.dropFirst())), given > 0
            else { return nil }
            number = given
        }
        guard !host.isEmpty else { return nil }
        self.host = Self.text(host)
        self.port = Int(number)
        self.authority = Self.text(authority)
        self.target = (target.first == UInt8(ascii: "/") ? "" : "/") + Self.text(target)
    }

    private static func text(_ bytes: Substring.UTF8View) -> String { String(Substring(bytes)) }

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
