import ProxyGPT
import Testing

@Suite struct WebOriginTests {
    @Test("Origins are compared without regard to case and to a default port")
    func compares() {
        for (left, right) in [
            ("http://a.example", "HTTP://A.example:80"), ("https://a:443", "https://a"),
            ("https://[::1]:443", "https://[::1]"),
            ("Capacitor://localhost", "capacitor://LOCALHOST"),
        ] {
            #expect(WebOrigin(left) != nil && WebOrigin(left) == WebOrigin(right), "\(left)")
        }
        for (left, right) in [
            ("http://a", "https://a"), ("http://a:443", "http://a"), ("http://a", "http://a:8080"),
            ("app://a:80", "app://a"), ("http://a", "http://a."),
        ] {
            #expect(WebOrigin(left) != WebOrigin(right), "\(left)")
        }
        #expect(
            WebOrigin(scheme: "http", host: "LocalHost:8080") == WebOrigin("http://localhost:8080"))
        #expect(WebOrigin("https://A.example:443")?.text == "https://a.example")
    }

    @Test(
        "Malformed origins are not read",
        arguments: [
            "", "null", "*", "http://", "http:", "http//a", "://a", "http://a/", "http://a/b",
            "http://a:", "http://a:x", "http://a:123456", "http://a:1:2", "http://[::1",
            "http://[]",
            "http://[::g]", "http://[::1]x", "http://a b", "http://a@b", "http://a?b", "1a://b",
            "http://a\u{301}", "http://ä", "\u{301}http://a", "http\u{301}://a", "http://a%2e",
            "http://" + String(repeating: "a", count: 254),
            String(repeating: "a", count: 40) + "://b",
            "http://a" + String(repeating: "\u{301}\u{323}", count: 36_000),
        ])
    func refuses(text: String) {
        #expect(WebOrigin(text) == nil)
        #expect(WebOrigin(scheme: "http", host: text.isEmpty ? "a/b" : text + "/") == nil)
    }

    @Test("An address or localhost cannot become another's, a name can")
    func knowsAddresses() {
        for text in ["127.0.0.1", "192.0.2.1:8080", "[::1]", "[2001:db8::1]:80", "LOCALHOST:1"] {
            #expect(HostName(ofHeader: text)?.isLocalOrAddress == true, "\(text)")
        }
        for text in [
            "a", "localhost.evil.example", "localhost.", "1.2.3", "1.2.3.4.5", "1.2.3.256",
            "1.2.3.x", "1..2.3", "127.0.0.1.evil.example", "0x7f.1", "a.localhost",
        ] {
            #expect(HostName(ofHeader: text)?.isLocalOrAddress == false, "\(text)")
        }
        #expect(HostName(ofHeader: "a\u{301}") == nil)
    }

    @Test("A server's name matches one name or all below it, and a malformed one matches nothing")
    func matchesServerNames() throws {
        func matches(_ name: String, _ host: String) throws -> Bool? {
            let host = try #require(HostName(ofHeader: host))
            return ServerName(name)?.matches(host)
        }
        #expect(try matches("gpt.example", "GPT.example:8080") == true)
        #expect(try matches("gpt.example", "a.gpt.example") == false)
        #expect(try matches("gpt.example", "evil.example") == false)
        #expect(try matches("*.example", "gpt.example") == true)
        #expect(try matches("*.gpt.example", "gpt.example") == true)
        #expect(try matches("*.example", "a.gpt.example") == true)
        #expect(try matches("*.example", "gptexample") == false)
        #expect(try matches("*.example", "evil.other") == false)
        for name in ["", "_", "~^(.+)$", "www.*", "a b", "*", ".", "*.", "*.*"] {
            #expect(ServerName(name) == nil, "\(name)")
        }
    }
}
