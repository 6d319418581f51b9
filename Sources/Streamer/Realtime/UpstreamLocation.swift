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

    /// Takes an address apart that `UpstreamAddress` has made; nil for anything else.
    init?(_ url: String) {
        isSecure = url.hasPrefix("https://")
        guard isSecure || url.hasPrefix("http://"),
            url.utf8.allSatisfy({ $0 > 0x20 && $0 != 0x7F })
        else { return nil }
        let rest = url.dropFirst(isSecure ? 8 : 7)
        let authority = rest.prefix { $0 != "/" && $0 != "?" }
        let target = rest.dropFirst(authority.count)
        var host = authority
        var port: Substring?
        if authority.hasPrefix("["), let end = authority.firstIndex(of: "]") {
            host = authority[..<end].dropFirst()
            port = authority[authority.index(after: end)...]
        } else if let colon = authority.firstIndex(of: ":") {
            host = authority[..<colon]
            port = authority[colon...]
        }
        var number = UInt16(isSecure ? 443 : 80)
        if let port, !port.isEmpty {
            guard port.first == ":", let given = UInt16(port.dropFirst()), given > 0 else {
                return nil
            }
            number = given
        }
        guard !host.isEmpty else { return nil }
        self.host = String(host)
        self.port = Int(number)
        self.authority = String(authority)
        self.target = target.hasPrefix("/") ? String(target) : "/" + target
    }

    /// Whether the host is an address, which has no name that a certificate's could be.
    var isAddress: Bool {
        host.contains(":") || host.utf8.allSatisfy { $0 == 0x2E || (0x30...0x39).contains($0) }
    }
}
