@testable import ProxyGPT
import Testing

@Suite struct UpstreamProxyTests {
    private func rules(_ values: [String: String]) throws -> UpstreamProxyRules {
        try Settings(values: values.merging(["API_KEY": "sk-key"]) { given, _ in given })
            .upstreamProxy
    }

    private func problems(_ values: [String: String]) -> [String] {
        do throws(Settings.Problems) {
            _ = try Settings(values: values.merging(["API_KEY": "sk-key"]) { given, _ in given })
            return []
        } catch {
            return error.all
        }
    }

    @Test(
        "An address of a proxy is taken apart",
        arguments: [
            ("http://proxy.example:3128", "proxy.example", 3128),
            ("HTTP://Proxy.Example:3128/", "proxy.example", 3128),
            ("http://proxy.example", "proxy.example", 80), ("10.0.0.1:8888", "10.0.0.1", 8888),
            ("http://[2001:DB8::1]:1", "2001:db8::1", 1), ("http://[::1]", "::1", 80),
        ])
    func takesAddressesApart(text: String, host: String, port: Int) throws {
        let proxy = try UpstreamProxy(text)
        #expect(proxy.host == host)
        #expect(proxy.port == port)
        #expect(proxy.credential == nil)
    }

    @Test(
        "A user and a password may be escaped, and no way of printing shows the password",
        arguments: ["http://me:p%40ss:w%2Frd@proxy:1", "me:p%40ss:w%2Frd@proxy:1"])
    func readsCredentials(text: String) throws {
        let proxy = try UpstreamProxy(text)
        #expect(proxy.credential?.user == "me")
        #expect(proxy.credential?.password.revealed == "p@ss:w/rd")
        #expect(proxy.description == "http://proxy:1")
        var dumped = ""
        dump(try rules(["UPSTREAM_PROXY": text]), to: &dumped)
        #expect(!(dumped + "\(proxy) \(String(reflecting: proxy))").contains("p@ss"))
    }

    @Test(
        "A malformed address of a proxy is refused without being quoted",
        arguments: [
            "https://u:secret@h:1", "socks5://u:secret@h:1", "http://u:secret@",
            "http://u:secret@:1",
            "http://u:secret@h:0", "http://u:secret@h:65536", "http://u:secret@h:+1",
            "http://u:secret@h:1/x", "http://u:sec/ret@h:1", "http://u:secret%@h:1",
            "http://u:secret%0A@h:1", "http://u:secret@::1", "http://u%3Ax:secret@h:1",
            "http://u:secret @h:1", "http://u:secret@h\u{301}:1",
        ])
    func refusesOthers(text: String) throws {
        for (name, values) in [
            ("UPSTREAM_PROXY", ["UPSTREAM_PROXY": text]),
            ("HTTPS_PROXY", ["UPSTREAM_PROXY": "environment", "HTTPS_PROXY": text]),
        ] {
            let problems = problems(values)
            #expect(problems.count == 1)
            #expect(problems.first?.hasPrefix(name + " ") == true)
            #expect(problems.first?.contains("sec") == false)
        }
    }

    @Test(
        "A proxy that is named stands before every host, the environment's only where that is said")
    func choosesBySetting() throws {
        let environment = ["HTTPS_PROXY": "http://s:1", "HTTP_PROXY": "http://p:2"]
        #expect(try rules(environment) == .none)
        let named = try rules(environment.merging(["UPSTREAM_PROXY": "http://n:3"]) { $1 })
        for isSecure in [true, false] {
            #expect(named.proxy(for: "h", port: 443, isSecure: isSecure)?.host == "n")
        }
        let both = try rules(environment.merging(["UPSTREAM_PROXY": "environment"]) { $1 })
        #expect(both.proxy(for: "h", port: 443, isSecure: true)?.host == "s")
        #expect(both.proxy(for: "h", port: 80, isSecure: false)?.host == "p")
        let lower = try rules(
            environment.merging(["UPSTREAM_PROXY": "Environment", "https_proxy": "l:4"]) { $1 })
        #expect(lower.proxy(for: "h", port: 443, isSecure: true)?.host == "l")
        #expect(try rules(["UPSTREAM_PROXY": "environment"]) == .none)
    }

    @Test(
        "NO_PROXY names hosts, domains, addresses, networks and ports",
        arguments: [
            ("example.org", "example.org", 443, true), ("example.org", "a.Example.org", 443, true),
            (".example.org", "a.example.org", 443, true),
            ("*.example.org", "a.example.org", 1, true),
            ("EXAMPLE.org.", "example.org", 443, true),
            ("example.org", "badexample.org", 443, false),
            ("a.example.org", "example.org", 443, false), ("*", "anything", 443, true),
            ("x, example.org  y", "example.org", 443, true), ("h:8443", "h", 8443, true),
            ("h:8443", "h", 443, false), ("10.0.0.0/8", "10.255.1.2", 443, true),
            ("10.0.0.0/8", "11.0.0.1", 443, false), ("10.1.2.3", "10.1.2.3", 443, true),
            ("192.168.1.128/25", "192.168.1.127", 443, false), ("0.0.0.0/0", "8.8.8.8", 443, true),
            ("0.0.0.0/0", "::1", 443, false), ("::1", "::1", 443, true),
            ("fd00::/8", "fd12:3456::1", 443, true), ("[::1]:81", "0:0:0:0:0:0:0:1", 81, true),
            ("10.0.0.0/33", "10.0.0.0", 443, false), ("h:x", "h", 443, false),
            ("", "h", 443, false),
        ])
    func knowsExceptions(list: String, host: String, port: Int, isDirect: Bool) throws {
        let rules = try rules([
            "UPSTREAM_PROXY": "environment", "HTTPS_PROXY": "http://p:1", "NO_PROXY": list,
        ])
        #expect((rules.proxy(for: host, port: port, isSecure: true) == nil) == isDirect)
    }
}
