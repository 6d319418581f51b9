@testable import HTTPAPI
import ProxyGPT
import Testing

@Suite(.timeLimit(.minutes(5))) struct CrossSiteTests {
    private func isRefused(
        _ headers: [Header], settings: [String: String] = [:], scheme: String = "http"
    ) throws -> Bool {
        let site = CrossSite(try Settings(values: settings.merging(["API_KEY": "k"]) { $1 }))
        let request = Stage.request("POST", "/user/update", headers: headers, scheme: scheme)
        do throws(Failure) {
            try site.checkOrigin(of: request)
            return false
        } catch {
            #expect(error.code == .forbidden)
            return true
        }
    }

    @Test("A request of no page, or of a page of ours, passes")
    func passesOwnPages() throws {
        #expect(try !isRefused([]))
        for origin in ["http://localhost:8080", "HTTP://LocalHost:8080"] {
            #expect(try !isRefused([Header("Origin", origin)]))
        }
        for site in ["same-origin", "same-site", "none"] {
            #expect(try !isRefused([Header("Sec-Fetch-Site", site)]))
        }
    }

    @Test("A page of another origin is refused")
    func refusesForeignPages() throws {
        for origin in [
            "null", "", "http://localhost", "https://localhost:8080", "http://localhost:8081",
            "http://evil.example",
            "http://localhost:8080.evil.example", "localhost:8080",
        ] {
            #expect(try isRefused([Header("Origin", origin)]), "\(origin)")
        }
        #expect(try isRefused([Header("Sec-Fetch-Site", "Cross-Site")]))
        let two = [
            Header("Origin", "http://localhost:8080"), Header("Origin", "http://evil.example"),
        ]
        #expect(try isRefused(two))
    }

    @Test("PUBLIC_ORIGINS decides over the Host header, a default port or not")
    func knowsPublicOrigins() throws {
        let settings = ["PUBLIC_ORIGINS": "https://gpt.example, http://gpt.example:80"]
        for origin in ["https://gpt.example", "https://gpt.example:443", "http://gpt.example"] {
            #expect(try !isRefused([Header("Origin", origin)], settings: settings), "\(origin)")
        }
        #expect(try isRefused([Header("Origin", "http://localhost:8080")], settings: settings))
    }

    @Test("The cookie stays off plain connections where we are served over TLS")
    func marksTheCookie() async throws {
        for (settings, scheme, isSecure) in [
            ([:], "http", false), ([:], "https", true),
            (["PUBLIC_ORIGINS": "https://a"], "http", true),
            (["PUBLIC_ORIGINS": "http://a"], "https", false),
            (["PUBLIC_ORIGINS": "https://a,http://b"], "https", false),
        ] {
            let stage = try Stage(settings)
            let body = "username=a&password=12345678"
            let writer = await stage.serve(
                Stage.request("POST", "/user/signup", body: body, scheme: scheme))
            #expect(writer.value(of: "Set-Cookie")?.hasSuffix("; Secure") == isSecure)
        }
    }

    @Test("A foreign page can neither use the cookie, nor set it, nor log out with it")
    func protectsTheCookie() async throws {
        let stage = try Stage()
        let token = try await stage.user()
        let cookie = Header("Cookie", "sess=\(token)")
        let foreign = Header("Origin", "https://evil.example")
        for (method, path) in [
            ("POST", "/user/update"), ("POST", "/v1/chat/completions"), ("DELETE", "/v1/files/f"),
            ("POST", "/user/logout"), ("GET", "/user/logout"), ("HEAD", "/user/logout"),
            ("POST", "/user/session"),
        ] {
            for sign in [foreign, Header("Origin", "null"), Header("Sec-Fetch-Site", "cross-site")]
            {
                let writer = await stage.serve(
                    Stage.request(method, path, headers: [cookie, sign]))
                #expect(writer.status == 403, "\(method) \(path)")
            }
        }
        for path in ["/user/login", "/user/signup"] {
            #expect(
                await stage.post(path, "username=a&password=12345678", headers: [foreign]).status
                    == 403)
        }
        // Logging out with a token of one's own would clear the cookie of somebody else's browser.
        #expect(
            await stage.post("/user/logout", "token=\(token)", headers: [foreign]).status == 403)
        #expect(stage.upstream.calls.isEmpty)
        #expect(await stage.get("/user/session", headers: [cookie, foreign]).status == 200)
        // A token that no browser adds by itself is not the cookie's business.
        let writer = await stage.post(
            "/user/update", "first_name=A", token: token, headers: [foreign])
        #expect(writer.status == 200)
    }

    @Test("Pages of CORS_ORIGINS may ask and read, others get no such header")
    func answersCORS() async throws {
        let stage = try Stage(["CORS_ORIGINS": "https://app.example"])
        let token = try await stage.user()
        let origin = Header("Origin", "https://App.example")
        let asking = [
            origin, Header("Access-Control-Request-Method", "POST"),
            Header("Access-Control-Request-Headers", "authorization,x-a"),
        ]
        let preflight = await stage.serve(
            Stage.request("OPTIONS", "/v1/chat/completions", headers: asking))
        #expect(preflight.status == 204)
        #expect(preflight.value(of: "Access-Control-Allow-Origin") == "https://App.example")
        #expect(preflight.value(of: "Access-Control-Allow-Headers") == "authorization,x-a")
        #expect(preflight.value(of: "Access-Control-Allow-Methods")?.contains("DELETE") == true)
        #expect(preflight.value(of: "Access-Control-Allow-Credentials") == nil)
        #expect(preflight.value(of: "Content-Length") == nil)
        let writer = await stage.get("/user/session", token: token, headers: [origin])
        #expect(writer.value(of: "Access-Control-Allow-Origin") == "https://App.example")
        #expect(writer.value(of: "Vary") == "Origin")
        #expect(
            await stage.get("/user/session", headers: [origin]).value(
                of: "Access-Control-Allow-Origin") != nil)
        let other = [
            Header("Origin", "https://other.example"),
            Header("Access-Control-Request-Method", "POST"),
        ]
        let refused = await stage.serve(Stage.request("OPTIONS", "/user/session", headers: other))
        #expect(refused.status == 401)
        #expect(refused.headers.allSatisfy { !$0.name.hasPrefix("Access-Control") })
        let plain = await stage.serve(Stage.request("OPTIONS", "/user/session", headers: [origin]))
        #expect(plain.status == 401)
    }
}
