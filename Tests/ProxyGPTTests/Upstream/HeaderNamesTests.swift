import ProxyGPT
import Testing

@Suite struct HeaderNamesTests {
    @Test("A list covers its names and what begins like its prefixes")
    func coversNames() throws {
        let names = try HeaderNames("X-Tenant, x-team-*,Accept-Encoding,")
        for name in ["x-tenant", "X-TENANT", "X-Team-", "x-team-a", "accept-encoding"] {
            #expect(names.contains(name), "\(name)")
        }
        for name in ["x-tenant-id", "x-team", "x", "", "accept"] {
            #expect(!names.contains(name), "\(name)")
        }
        #expect(try !HeaderNames("").contains("x"))
    }

    @Test(
        "A forbidden name stops the start, and so does a prefix that would cover one",
        arguments: [
            "Authorization", "cookie", "HOST", "api-key", "X-API-Key", "Forwarded",
            "X-Forwarded-For", "x-forwarded-anything", "Proxy-Authorization", "Proxy",
            "OpenAI-Organization", "OpenAI-Project", "Content-Length", "Transfer-Encoding",
            "Connection", "TE", "Sec-WebSocket-Key", "*", "a*", "x-*", "x-a*", "openai-*",
            "x-forwarded-*", "x-forwarded-p*", "proxy-x*", "cookie*", "X-Fine, Cookie",
        ])
    func refusesForbiddenNames(list: String) {
        let problem = #expect(throws: HeaderNames.Problem.self) { try HeaderNames(list) }
        #expect(problem?.text.contains("never goes upstream") == true)
    }

    @Test("Malformed names are refused", arguments: ["a b:", "x_y", "é", "x*y", "**", "x:1"])
    func refusesOthers(list: String) {
        #expect(throws: HeaderNames.Problem.self) { try HeaderNames(list) }
    }

    @Test("Names that merely resemble forbidden ones are fine")
    func takesNeighbours() throws {
        _ = try HeaderNames("x-acme-*, hosts, x-api-keys, cookies, openai-beta, proxied-by, x-b*")
    }
}
