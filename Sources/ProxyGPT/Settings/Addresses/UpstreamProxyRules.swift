internal import Formats
internal import Glibc

/// The proxies for hosts of the upstream, from `UPSTREAM_PROXY`.
package struct UpstreamProxyRules: Sendable, Equatable {
    /// No proxy, for no host.
    package static let none = UpstreamProxyRules()

    /// The variables that `UPSTREAM_PROXY=environment` reads; names in small letters win.
    package static let variables = [
        "https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY", "no_proxy", "NO_PROXY",
    ]

    /// The proxy before addresses of https and wss.
    private let secure: UpstreamProxy?
    /// The proxy before addresses of http and ws.
    private let plain: UpstreamProxy?
    private let exceptions: [Exception]

    /// - Parameter exceptions: hosts without a proxy, in the form of `NO_PROXY`: names, which stand for
    ///   their subdomains as well, addresses, networks such as 10.0.0.0/8, each with a port or without,
    ///   separated by commas or spaces; `*` for all.
    package init(
        secure: UpstreamProxy? = nil, plain: UpstreamProxy? = nil, exceptions: String = ""
    ) {
        self.secure = secure
        self.plain = plain
        self.exceptions = exceptions.utf8.split { $0 == UInt8(ascii: ",") || $0 <= 0x20 }
            .compactMap { Exception(Substring($0)) }
    }

    /// Returns the proxy on the way to a host, or nil for the direct way.
    /// - Parameter host: a name or an address, without the brackets of an IPv6 address.
    package func proxy(for host: String, port: Int, isSecure: Bool) -> UpstreamProxy? {
        guard let proxy = isSecure ? secure : plain else { return nil }
        let name = Exception.plainName(Substring(host))
        return exceptions.contains { $0.covers(name, port) } ? nil : proxy
    }

    /// One entry of `NO_PROXY`.
    private struct Exception: Sendable, Equatable {
        private enum Hosts: Sendable, Equatable {
            case all
            /// A name and its subdomains.
            case domain(String)
            /// Addresses whose first bits are these.
            case network([UInt8], bits: Int)
        }

        private let hosts: Hosts
        private let port: Int?

        init?(_ text: Substring) {
            let host: Substring
            do throws(HostAndPort.Problem) {
                let parts = try HostAndPort(Array(text.utf8)[...])
                host = Substring(parts.hostText)
                port = parts.port.map { Int($0) }
            } catch {
                // An IPv6 address needs no brackets here.
                guard error == .bareAddress else { return nil }
                host = text
                port = nil
            }
            let parts = host.split(separator: "/", omittingEmptySubsequences: false)
            if let address = Self.address(String(parts[0])) {
                let bits =
                    parts.count == 1
                    ? address.count * 8 : parts[1].utf8.decimalNumber.map { Int($0) } ?? -1
                guard parts.count <= 2, (0...(address.count * 8)).contains(bits) else { return nil }
                hosts = .network(address, bits: bits)
            } else if host == "*" {
                hosts = .all
            } else {
                var name = host.hasPrefix("*.") ? host.dropFirst() : host
                if name.hasPrefix(".") { name = name.dropFirst() }
                guard !name.isEmpty, parts.count == 1 else { return nil }
                hosts = .domain(Self.plainName(name))
            }
        }

        func covers(_ host: String, _ port: Int) -> Bool {
            if let own = self.port, own != port { return false }
            switch hosts {
            case .all: return true
            case .domain(let name): return host == name || host.hasSuffix("." + name)
            case .network(let network, let bits):
                guard let address = Self.address(host), address.count == network.count else {
                    return false
                }
                return (0..<bits).allSatisfy { bit in
                    (address[bit / 8] ^ network[bit / 8]) & (0x80 >> UInt8(bit % 8)) == 0
                }
            }
        }

        /// A name in small letters without the dot of the root.
        static func plainName(_ name: Substring) -> String {
            (name.hasSuffix(".") ? name.dropLast() : name).lowercased()
        }

        /// The 4 or 16 bytes of an address; nil for a name.
        private static func address(_ text: String) -> [UInt8]? {
            for (family, count) in [(AF_INET, 4), (AF_INET6, 16)] {
                var bytes = [UInt8](repeating: 0, count: count)
                if inet_pton(family, text, &bytes) == 1 { return bytes }
            }
            return nil
        }
    }
}
