internal import Formats

/// The origin of a page (RFC 6454), as bytes in small letters and without a default port.
package struct WebOrigin: Sendable, Equatable {
    /// The longest name of a host with its port, in bytes.
    package static let authorityLimit = 253 + 6
    private static let schemeLimit = 32

    private let bytes: [UInt8]
    /// The name or address, without the port; empty for the opaque origin.
    package let host: HostName

    /// The origin `null`, of pages such as files.
    package static let opaque = WebOrigin(bytes: Array("null".utf8), host: HostName(Array("".utf8)))

    private init(bytes: [UInt8], host: HostName) {
        self.bytes = bytes
        self.host = host
    }

    /// Reads an origin; nil for anything else, the opaque one included.
    package init?(_ text: String) {
        let limit = Self.schemeLimit + 3 + Self.authorityLimit
        guard text.utf8.count <= limit else { return nil }
        let bytes = text.utf8.map(lowerCase)
        guard let colon = bytes.firstIndex(of: UInt8(ascii: ":")),
            bytes[colon...].starts(with: "://".utf8)
        else { return nil }
        self.init(scheme: bytes[..<colon], authority: bytes[(colon + 3)...])
    }

    /// The origin of this host's pages; nil for a malformed host.
    package init?(scheme: String, host: String) {
        guard host.utf8.count <= Self.authorityLimit else { return nil }
        self.init(scheme: Array(scheme.utf8)[...], authority: host.utf8.map(lowerCase)[...])
    }

    private init?(scheme: ArraySlice<UInt8>, authority: ArraySlice<UInt8>) {
        guard let first = scheme.first, (0x61...0x7A).contains(first),
            scheme.count <= Self.schemeLimit,
            scheme.allSatisfy({ isSmallLetterOrDigit($0) || "+-.".utf8.contains($0) }),
            let (host, port) = HostName.split(authority)
        else { return nil }
        let isDefault =
            port.elementsEqual("80".utf8) && scheme.elementsEqual("http".utf8)
            || port.elementsEqual("443".utf8) && scheme.elementsEqual("https".utf8)
        var bytes = Array(scheme) + "://".utf8 + host.bytes
        if !port.isEmpty && !isDefault { bytes += [UInt8(ascii: ":")] + port }
        self.bytes = bytes
        self.host = host
    }

    /// Whether browsers speak HTTP to it.
    package var isHTTP: Bool {
        bytes.starts(with: "http://".utf8) || bytes.starts(with: "https://".utf8)
    }

    /// The text that browsers send.
    package var text: String { String(decoding: bytes, as: UTF8.self) }
}

/// The name or address of a host, in small letters.
package struct HostName: Sendable, Equatable {
    fileprivate let bytes: [UInt8]

    fileprivate init(_ bytes: [UInt8]) {
        self.bytes = bytes
    }

    /// Reads a `Host` header without its port; nil for a malformed one.
    package init?(ofHeader text: String) {
        guard text.utf8.count <= WebOrigin.authorityLimit,
            let (host, _) = Self.split(text.utf8.map(lowerCase)[...])
        else { return nil }
        self = host
    }

    /// The host and the digits of the port; nil for a malformed text.
    fileprivate static func split(
        _ authority: ArraySlice<UInt8>
    ) -> (HostName, port: ArraySlice<UInt8>)? {
        let isAddress = authority.first == UInt8(ascii: "[")
        let end =
            isAddress
            ? authority.firstIndex(of: UInt8(ascii: "]")).map { $0 + 1 }
            : authority.firstIndex(of: UInt8(ascii: ":")) ?? authority.endIndex
        guard let end else { return nil }
        let host = authority[..<end]
        let port = authority[end...].dropFirst()
        let isPlain =
            isAddress
            ? host.dropFirst().dropLast().allSatisfy {
                (0x30...0x3A).contains($0) || (0x61...0x66).contains($0) || $0 == 0x2E
            } : host.allSatisfy { isSmallLetterOrDigit($0) || "-._".utf8.contains($0) }
        guard host.count >= (isAddress ? 4 : 1), host.count <= 253, isPlain,
            authority[end...].first ?? UInt8(ascii: ":") == UInt8(ascii: ":"),
            authority[end...].count != 1, port.count <= 5,
            port.allSatisfy({ (0x30...0x39).contains($0) })
        else { return nil }
        return (HostName(Array(host)), port)
    }

    /// Whether the host is this machine or an address, which no record of the DNS can point
    /// elsewhere.
    package var isLocalOrAddress: Bool {
        if bytes.first == UInt8(ascii: "[") || bytes.elementsEqual("localhost".utf8) { return true }
        let parts = bytes.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
        return parts.count == 4
            && parts.allSatisfy { part in
                (1...3).contains(part.count) && part.allSatisfy { (0x30...0x39).contains($0) }
                    && part.reduce(0) { $0 * 10 + Int($1 - 0x30) } <= 255
            }
    }
}

/// A `server_name` of nginx: a name, or with `*.` all names below one.
package struct ServerName: Sendable {
    private let bytes: [UInt8]
    private let isWildcard: Bool

    /// Nil for names that match no host here: the empty name, `_`, and patterns of nginx.
    package init?(_ text: String) {
        guard text.utf8.count <= 255 else { return nil }
        let name = text.utf8.map(lowerCase)
        isWildcard = name.starts(with: "*.".utf8)
        bytes = Array(name.dropFirst(isWildcard ? 2 : 0))
        guard bytes.contains(where: isSmallLetterOrDigit),
            bytes.allSatisfy({ isSmallLetterOrDigit($0) || "-._".utf8.contains($0) })
        else { return nil }
    }

    package func matches(_ host: HostName) -> Bool {
        if host.bytes == bytes { return true }
        return isWildcard && host.bytes.suffix(bytes.count + 1).elementsEqual(".".utf8 + bytes)
    }
}

private func isSmallLetterOrDigit(_ byte: UInt8) -> Bool {
    (0x61...0x7A).contains(byte) || (0x30...0x39).contains(byte)
}
