internal import CLinux
internal import Glibc

/// The system's resolver of host names.
package enum HostNames {
    /// The reason why a name has no address, in the system's words.
    package struct Problem: Error, Equatable, CustomStringConvertible {
        package let text: String
        package var description: String { text }
    }

    /// The addresses of a name as text, at least one, see getaddrinfo(3). Blocks, and nothing makes it
    /// return: for threads that may.
    package static func addresses(of name: String) throws(Problem) -> [String] {
        var hints = addrinfo()
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        hints.ai_flags = AI_ADDRCONFIG
        var first: UnsafeMutablePointer<addrinfo>?
        let code = getaddrinfo(name, nil, &hints, &first)
        guard code == 0 else {
            throw Problem(text: gai_strerror(code).map { String(cString: $0) } ?? "error \(code)")
        }
        defer { freeaddrinfo(first) }
        var addresses: [String] = []
        var next = first
        while let entry = next?.pointee {
            var text = [CChar](repeating: 0, count: Int(NI_MAXHOST))
            let code = getnameinfo(
                entry.ai_addr, entry.ai_addrlen, &text, socklen_t(text.count), nil, 0,
                NI_NUMERICHOST)
            if code == 0 {
                let bytes = text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
                addresses.append(String(decoding: bytes, as: UTF8.self))
            }
            next = entry.ai_next
        }
        if addresses.isEmpty { throw Problem(text: "the name has no address") }
        return addresses
    }

    /// Whether a text is an address of IPv4 or IPv6, without brackets.
    package static func isAddress(_ text: String) -> Bool {
        var four = in_addr()
        var six = in6_addr()
        return inet_pton(AF_INET, text, &four) == 1 || inet_pton(AF_INET6, text, &six) == 1
    }
}
