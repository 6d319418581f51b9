import Credentials
import Formats
import Testing

@Suite struct PresentedCredentialTests {
    private func all(
        _ authorization: String..., cookie: String..., parameter: String? = nil,
        name: String = "sess"
    ) -> [PresentedCredential] {
        PresentedCredential.find(
            authorization: authorization, cookies: cookie, cookieName: name, parameter: parameter)
    }

    /// What is found where one credential is tried at most.
    private func find(
        _ authorization: String..., cookie: String..., parameter: String? = nil
    ) -> PresentedCredential? {
        let found = PresentedCredential.find(
            authorization: authorization, cookies: cookie, cookieName: "sess", parameter: parameter)
        #expect(found.count <= 1)
        return found.first
    }

    /// As a token looks.
    private func token(_ letter: Character) -> String {
        "pgpt_" + String(repeating: letter, count: 43)
    }

    private func basic(_ text: String) -> String {
        "Basic " + base64URL(Array(text.utf8))
    }

    @Test("Nothing presented is nothing")
    func findsNothing() {
        #expect(find() == nil)
        #expect(find(cookie: "") == nil)
        #expect(find(cookie: "other=1; session=2; Sess=3; asess=4") == nil)
    }

    @Test(
        "A bearer token is taken, however its scheme is written",
        arguments: ["Bearer", "bearer", "BEARER"])
    func readsBearer(scheme: String) {
        #expect(find("\(scheme) pgpt_x") == .token("pgpt_x"))
        #expect(find("\(scheme)   pgpt_x") == .token("pgpt_x"))
        #expect(find("\(scheme) a.b-c_d~e+f/g==") == .token("a.b-c_d~e+f/g=="))
    }

    @Test("Basic holds the user's name and a token, the name ending at the first colon")
    func readsBasic() {
        #expect(find(basic("asim:pgpt_x")) == .userToken(username: "asim", token: "pgpt_x"))
        #expect(find(basic("asim:a:b")) == .userToken(username: "asim", token: "a:b"))
        #expect(find(basic("été:t")) == .userToken(username: "été", token: "t"))
        #expect(find(basic(":t")) == .userToken(username: "", token: "t"))
        #expect(find("basic YXNpbTp0Cg==") == .userToken(username: "asim", token: "t\n"))
    }

    @Test(
        "A broken Authorization header is a wrong credential, not a missing one",
        arguments: [
            "", " ", "Bearer", "Bearer ", "Bearer a b", "Bearer a\tb", "Bearer é", "Bearer \u{7F}",
            "pgpt_x",
            "Digest abc", "Basic", "Basic !", "Basic AAAAA", "Basic YXNpbQ", "Basic YXNpbTo",
            "Basic gICA",
            "Bearer\tx", "Basic YTpi YTpi",
        ])
    func refusesGarbage(value: String) {
        #expect(find(value) == .malformed)
        #expect(find(value, cookie: "other=good", parameter: "good") == .malformed)
    }

    @Test("The cookie sess is found among others")
    func readsCookies() {
        let (a, b) = (token("a"), token("b"))
        for text in [
            "sess=\(a)", "x=1; sess=\(a); y=2", "x=sess=1;sess=\(a);y", "sess=\"\(a)\"",
            "\tsess=\(a) \t", "__Host-sess=\(a)", "sess=\(a); __Host-sess=\(a)", "sess=; sess=\(a)",
            "sess=abc123; sess=\(a); sess=x", "sess=\(b.dropLast()); sess=\(a)",
        ] {
            #expect(find(cookie: text) == .cookie(a), "\(text)")
        }
        #expect(find(cookie: "x=1", "sess=\(a)") == .cookie(a))
        #expect(find(cookie: "__Secure-sess=\(a); SESS=\(a); asess=\(a)") == nil)
        #expect(all(cookie: "sess=\(b); gpt=\(a)", name: "gpt") == [.cookie(a)])
    }

    @Test("Of several cookies that may be sessions four are tried, in their order")
    func readsSeveralCookies() {
        let (a, b) = (token("a"), token("b"))
        #expect(all(cookie: "sess=\(a); sess=\(b)") == [.cookie(a), .cookie(b)])
        #expect(all(cookie: "sess=\(b); __Host-sess=\(a)") == [.cookie(b), .cookie(a)])
        let many = "abcdefgh".map { "sess=\(token($0))" }.joined(separator: ";")
        #expect(all(cookie: many) == "abcd".map { .cookie(token($0)) })
        let others = String(repeating: "sess=x; ", count: 1000)
        #expect(all(cookie: others + "sess=\(a)") == [.cookie(a)])
    }

    @Test(
        "A cookie sess that cannot be a token is a wrong credential",
        arguments: ["sess=", "sess=\"\"", "sess=a b", "sess=é", "sess=\u{1}", "sess=; sess=abc123"])
    func refusesBrokenCookies(value: String) {
        #expect(find(cookie: value) == .malformed)
    }

    @Test("The header goes before the parameter, and the parameter before the cookie")
    func keepsTheOrder() {
        let (h, c) = (token("h"), token("c"))
        #expect(find("Bearer \(h)", cookie: "sess=\(c)", parameter: "p") == .token(h))
        #expect(find(cookie: "sess=\(c)", parameter: "p") == .token("p"))
        #expect(find(cookie: "sess=\(c)", parameter: "") == .malformed)
        #expect(find(cookie: "sess=\(c)") == .cookie(c))
    }

    @Test("A cookie goes before a header that a front has added")
    func triesCookiesBeforeForeignHeaders() {
        let (h, c) = (token("h"), token("c"))
        #expect(all("Bearer abc", cookie: "sess=\(c)") == [.cookie(c), .token("abc")])
        #expect(all("Digest abc", cookie: "sess=\(c)") == [.cookie(c), .malformed])
        #expect(
            all(basic("staff:secret"), cookie: "sess=\(c)") == [
                .cookie(c), .userToken(username: "staff", token: "secret"),
            ])
        #expect(all("Bearer abc", cookie: "sess=x") == [.token("abc")])
        #expect(
            all(basic("asim:\(h)"), cookie: "sess=\(c)") == [
                .userToken(username: "asim", token: h)
            ])
        #expect(all("Bearer \(h)", "Bearer \(h)", cookie: "sess=\(c)") == [.malformed])
    }

    @Test("Two Authorization headers could mean two callers, and mean none")
    func refusesTwoHeaders() {
        #expect(find("Bearer a", "Bearer a") == .malformed)
        #expect(find("Bearer a", "Basic YTpi") == .malformed)
    }

    @Test("Every way of presenting a token gives the token")
    func givesTheToken() {
        #expect(PresentedCredential.token("a").token == "a")
        #expect(PresentedCredential.userToken(username: "n", token: "b").token == "b")
        #expect(PresentedCredential.cookie("c").token == "c")
        #expect(PresentedCredential.malformed.token == nil)
    }
}
