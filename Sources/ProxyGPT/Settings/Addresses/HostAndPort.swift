internal import Formats

/// The host and port of an address (RFC 3986, section 3.2): `host`, `host:port`,
/// `[2001:db8::1]:port`.
package struct HostAndPort: Sendable, Equatable {
    /// The problem of a text, without any part of the text; follows "the address".
    package enum Problem: String, Error {
        case noHost = "names no host"
        case unclosedBracket = "has no ] behind its IPv6 address"
        case moreThanPort = "has something other than a port behind its host"
        case bareAddress = "has an IPv6 address without [ ] around it"
        case invalidPort = "has a port that is no number from 1 to 65535"
    }

    /// The host without the brackets of an IPv6 address.
    package let host: ArraySlice<UInt8>
    /// The port from 1 on; nil where there is none.
    package let port: UInt16?

    package init(_ bytes: ArraySlice<UInt8>) throws(Problem) {
        let colon = UInt8(ascii: ":")
        let behind: ArraySlice<UInt8>
        if bytes.first == UInt8(ascii: "[") {
            guard let end = bytes.firstIndex(of: UInt8(ascii: "]")) else { throw .unclosedBracket }
            host = bytes[..<end].dropFirst()
            behind = bytes[(end + 1)...]
        } else {
            host = bytes.prefix { $0 != colon }
            behind = bytes[host.endIndex...]
            guard !behind.dropFirst().contains(colon) else { throw .bareAddress }
        }
        guard !host.isEmpty else { throw .noHost }
        guard !behind.isEmpty else {
            port = nil
            return
        }
        guard behind.first == colon else { throw .moreThanPort }
        guard let number = Self.port(behind.dropFirst()) else { throw .invalidPort }
        port = number
    }

    /// A port in decimal digits; nil for anything else.
    static func port(_ digits: ArraySlice<UInt8>) -> UInt16? {
        digits.decimalNumber.flatMap { UInt16(exactly: $0) }.flatMap { $0 > 0 ? $0 : nil }
    }

    /// The host as text, with U+FFFD for bytes that are not UTF-8.
    package var hostText: String { String(decoding: host, as: UTF8.self) }
}
