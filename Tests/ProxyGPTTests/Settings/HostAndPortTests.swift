import Testing

@testable import ProxyGPT

@Suite struct HostAndPortTests {
    private func parts(_ text: String) throws(HostAndPort.Problem) -> HostAndPort {
        try HostAndPort(Array(text.utf8)[...])
    }

    @Test(
        "A host is taken apart from its port, and from the brackets of an IPv6 address",
        arguments: [
            ("h", "h", nil), ("h:1", "h", 1), ("h:65535", "h", 65_535), ("h:00080", "h", 80),
            ("192.0.2.1:80", "192.0.2.1", 80), ("[2001:db8::1]", "2001:db8::1", nil),
            ("[::1]:8080", "::1", 8080),
        ] as [(String, String, UInt16?)])
    func takesApart(text: String, host: String, port: UInt16?) throws {
        let parts = try parts(text)
        #expect(parts.hostText == host && parts.port == port)
    }

    @Test(
        "Malformed hosts are refused with the same reason in all addresses",
        arguments: [
            ("", .noHost), (":80", .noHost), ("[]", .noHost), ("[::1", .unclosedBracket),
            ("[::1]x", .moreThanPort), ("[::1]8080", .moreThanPort), ("::1", .bareAddress),
            ("h:80:90", .bareAddress), ("h:", .invalidPort), ("h:0", .invalidPort),
            ("h:65536", .invalidPort), ("h:+1", .invalidPort), ("h:-1", .invalidPort),
            ("h: 1", .invalidPort), ("h:0x50", .invalidPort), ("h:8_0", .invalidPort),
            ("h:٨٠", .invalidPort), ("h:18446744073709551696", .invalidPort),
        ] as [(String, HostAndPort.Problem)])
    func refuses(text: String, problem: HostAndPort.Problem) {
        #expect(throws: problem) { try parts(text) }
        guard text.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else { return }
        let ending = problem.rawValue
        #expect(throws: RedisAddress.Problem(text: ending)) { try RedisAddress("redis://\(text)") }
        #expect(throws: UpstreamProxy.Problem(text: ending)) { try UpstreamProxy("http://\(text)") }
        #expect(throws: UpstreamAddress.Problem(text: ending)) {
            try UpstreamAddress("http://\(text)")
        }
    }
}
