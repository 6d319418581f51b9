import ProxyGPT
import Testing

@testable import CurlUpstream

struct OutgoingRequestTests {
    private func request(
        _ url: String = "http://h/", method: String = "GET", headers: [Header] = []
    ) throws -> OutgoingRequest {
        try OutgoingRequest(
            UpstreamCall(
                method: method, url: Array(url.utf8), headers: headers, body: nil))
    }

    @Test(arguments: [
        ("https://api.openai.com/v1/models", "api.openai.com", 443, "/v1/models"),
        ("http://localhost:9090/v1/a%2Fb?x=%20&y", "localhost", 9090, "/v1/a%2Fb?x=%20&y"),
        ("http://[::1]:81/x/../y//z?", "::1", 81, "/x/../y//z?"),
        ("https://[2001:db8::1]", "2001:db8::1", 443, "/"),
        ("http://h?q=1", "h", 80, "/?q=1"),
    ])
    func takesAnAddressApart(url: String, host: String, port: Int, path: String) throws {
        let target = try request(url).target
        #expect(target.host == host)
        #expect(target.port == port)
        #expect(target.path == Array(path.utf8))
        #expect(target.isSecure == url.hasPrefix("https"))
    }

    @Test(arguments: [
        "ftp://h/", "http://", "http:///x", "http://a@h/", "http://[::1/", "http://[::1]x/",
        "http://h:/", "http://h:0/", "http://h:65536/", "http://h:80:90/", "http://h/a b",
        "http://h/a\r\nHost: other", "http://h/\u{0}", "",
    ])
    func refusesAnAddressThatIsNone(url: String) {
        #expect(throws: UpstreamFailure.self) { try request(url) }
    }

    @Test func noByteOfAQueryEndsItsLine() throws {
        let address = Array("http://h/v1/x?".utf8)
        for byte in Array(UInt8(0)...0x20) + [0x7F] {
            let call = UpstreamCall(
                method: "GET", url: address + [0xFF, byte, 0x61], headers: [], body: nil)
            #expect(throws: UpstreamFailure.self) { try OutgoingRequest(call) }
        }
        let call = UpstreamCall(method: "GET", url: address + [0xFF, 0x80], headers: [], body: nil)
        #expect(try OutgoingRequest(call).target.path == Array("/v1/x?".utf8) + [0xFF, 0x80])
    }

    @Test(arguments: ["", "GET /other HTTP/1.1\r\n", "G T", "é"])
    func refusesAMethodThatIsNoToken(method: String) {
        #expect(throws: UpstreamFailure.self) { try request(method: method) }
    }

    @Test func leavesOutWhatIsMadeHereAndWhatWouldBreakItsLine() throws {
        let lines = try request(headers: [
            Header("Authorization", "Bearer x"), Header("API-Key", "x"), Header("host", "other"),
            Header("Content-Length", "3"), Header("Transfer-Encoding", "chunked"),
            Header("A", "1\r\nB: 2"), Header("bad name", "x"), Header("", "x"),
            Header("Accept", "a/b"), Header("Fine", "1"), Header("Blank", ""),
            Header("Spaces", " \t"), Header("Raw", bytes: [0x61, 0xFF]),
            Header("Broken", bytes: [0x61, 0xFF, 0x0A]),
        ]).lines
        #expect(lines.allSatisfy { $0.last == 0 })
        #expect(
            lines.map { Array($0.dropLast()) } == [
                Array("Accept: a/b".utf8), Array("Fine: 1".utf8), Array("Blank;".utf8),
                Array("Spaces;".utf8), Array("Raw: a".utf8) + [0xFF],
            ])
    }
}
