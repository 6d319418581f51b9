import Credentials
import Testing

@Suite struct PresentedCredentialTests {
    private func find(
        _ authorization: String..., cookie: String..., parameter: String? = nil
    ) -> PresentedCredential? {
        .find(authorization: authorization, cookies: cookie, parameter: parameter)
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
        #expect(find(value, cookie: "sess=good", parameter: "good") == .malformed)
    }

    @Test("The cookie sess is found among others")
    func readsCookies() {
        #expect(find(cookie: "sess=t") == .cookie("t"))
        #expect(find(cookie: "a=1; sess=t; b=2") == .cookie("t"))
        #expect(find(cookie: "a=sess=1;sess=t;b") == .cookie("t"))
        #expect(find(cookie: "a=1", "sess=t=") == .cookie("t="))
        #expect(find(cookie: "sess=\"t\"") == .cookie("t"))
        #expect(find(cookie: "\tsess=t \t") == .cookie("t"))
        #expect(find(cookie: "sess=first; sess=second") == .cookie("first"))
    }

    @Test(
        "A cookie sess that cannot be a token is a wrong credential",
        arguments: ["sess=", "sess=\"\"", "sess=a b", "sess=é", "sess=\u{1}", "sess=; sess=good"])
    func refusesBrokenCookies(value: String) {
        #expect(find(cookie: value) == .malformed)
    }

    @Test("The header goes before the parameter, and the parameter before the cookie")
    func keepsTheOrder() {
        #expect(find("Bearer h", cookie: "sess=c", parameter: "p") == .token("h"))
        #expect(find(cookie: "sess=c", parameter: "p") == .token("p"))
        #expect(find(cookie: "sess=c", parameter: "") == .malformed)
        #expect(find(cookie: "sess=c") == .cookie("c"))
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
