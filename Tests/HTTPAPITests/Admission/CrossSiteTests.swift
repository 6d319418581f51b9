import Formats
@testable import Gateway
import ProxyGPT
import Synchronization
import TestSupport
import Testing

@testable import HTTPAPI

@Suite(.timeLimit(.minutes(5))) struct CrossSiteTests {
    private func isRefused(
        _ headers: [Header], settings: [String: String] = [:], scheme: String = "http",
        host: String = "localhost:8080", serverName: String = ""
    ) throws -> Bool {
        let site = CrossSite(try Settings(values: settings.merging(["API_KEY": "k"]) { $1 }))
        let request = Stage.request(
            "POST", "/user/update", headers: headers, scheme: scheme, host: host,
            serverName: serverName)
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
        for site in ["same-origin", "Same-Origin", "none"] {
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
        for site in ["Cross-Site", "same-site", "", "anything", "same-origin\u{301}"] {
            #expect(try isRefused([Header("Sec-Fetch-Site", site)]), "\(site)")
        }
        let sameSite = [
            Header("Origin", "http://localhost:8080"), Header("Sec-Fetch-Site", "same-site"),
        ]
        #expect(try isRefused(sameSite))
        let long = "http://localhost:8080" + String(repeating: "\u{301}\u{323}", count: 36_000)
        #expect(try isRefused([Header("Origin", long)]))
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
        func between(_ site: String) -> [Header] {
            [Header("Origin", "http://gpt.example"), Header("Sec-Fetch-Site", site)]
        }
        #expect(try !isRefused(between("same-site"), settings: settings))
        #expect(try isRefused(between("cross-site"), settings: settings))
        #expect(try isRefused([Header("Sec-Fetch-Site", "same-site")], settings: settings))
    }

    @Test("A name is our own only where nginx calls the server so, since others can be rebound")
    func distrustsNames() throws {
        let page = [Header("Origin", "http://gpt.example:8080")]
        #expect(try isRefused(page, host: "gpt.example:8080"))
        for name in ["gpt.example", "GPT.Example", "*.example", "*.gpt.example"] {
            #expect(try !isRefused(page, host: "gpt.example:8080", serverName: name), "\(name)")
        }
        for name in ["other.example", "_", "~.*", "*.a.example", "example", "*"] {
            #expect(try isRefused(page, host: "gpt.example:8080", serverName: name), "\(name)")
        }
        for host in ["127.0.0.1", "192.0.2.1:8080", "[2001:db8::1]:8080", "localhost"] {
            #expect(try !isRefused([Header("Origin", "http://\(host)")], host: host), "\(host)")
        }
        for host in ["127.0.0.1.evil.example", "localhost.evil.example", "1.2.3.4.5", "localhost."]
        {
            #expect(try isRefused([Header("Origin", "http://\(host)")], host: host), "\(host)")
        }
    }

    @Test("A refusal names PUBLIC_ORIGINS, and the log says what it would have to be")
    func tellsTheRemedy() throws {
        func refusal(_ origins: [String], _ settings: [String: String] = [:]) throws -> (
            message: String, log: String
        ) {
            let journal = LogJournal()
            let site = CrossSite(
                try Settings(values: settings.merging(["API_KEY": "k"]) { $1 }),
                logger: journal.logger)
            let request = Stage.request(
                "POST", "/user/update", headers: origins.map { Header("Origin", $0) },
                host: "backend\u{1b}:8080")
            do throws(Failure) {
                try site.checkOrigin(of: request)
                return ("", "")
            } catch {
                return (error.message, journal.text)
            }
        }
        let own = try refusal(["https://Gpt.example:443"])
        #expect(own.message.contains("Where https://gpt.example is our own, PUBLIC_ORIGINS must"))
        #expect(own.log.contains("PUBLIC_ORIGINS=https://gpt.example"))
        #expect(own.log.contains("https://Gpt.example:443") && own.log.contains("backend?:8080"))

        let more = try refusal(["http://b.example"], ["PUBLIC_ORIGINS": "https://a.example"])
        #expect(more.log.contains("PUBLIC_ORIGINS=https://a.example,http://b.example"))
        #expect(more.message.contains("http://b.example") && !more.message.contains("a.example"))

        for origins in [["null"], ["a\u{301} b"], ["http://a.example", "http://b.example"]] {
            let other = try refusal(origins)
            #expect(other.message.contains("PUBLIC_ORIGINS names the origins"), "\(origins)")
            #expect(!other.log.contains("PUBLIC_ORIGINS=") && other.log.contains("backend?"))
        }
        let long = try refusal(["http://" + String(repeating: "a\n", count: 50_000)])
        #expect(long.log.utf8.count < 1000 && long.message.utf8.count < 500)
    }

    @Test("Refusals of strangers fill no log: ten lines a minute, and the next counts the others")
    func boundsItsLog() {
        let journal = LogJournal()
        let now = Mutex<Int64>(0)
        let report = OriginReport(journal.logger) { now.withLock { $0 } }
        let request = Stage.request("POST", "/user/update", headers: [])
        for _ in 0..<50 { report.refused(request, remedy: nil) }
        #expect(journal.text.utf8.count(where: { $0 == 0x0A }) == OriginReport.limit - 1)
        now.withLock { $0 = 60_000_000 }
        report.refused(request, remedy: nil)
        #expect(journal.text.contains("\"refusals.skipped\": \(50 - OriginReport.limit)"))
    }

    @Test("Another name is misdirected once ours are known, by PUBLIC_ORIGINS or by nginx")
    func refusesOtherNames() async throws {
        let known = try Stage(["PUBLIC_ORIGINS": "https://gpt.example"])
        let unknown = try Stage()
        func status(_ stage: Stage, _ host: String, serverName: String = "") async -> Int? {
            await stage.serve(
                Stage.request("GET", "/user/session", host: host, serverName: serverName)
            ).status
        }
        for host in ["gpt.example", "GPT.example:8443", "127.0.0.1:8080", "[::1]", "localhost", ""]
        {
            #expect(await status(known, host) == 401, "\(host)")
            #expect(await status(unknown, host, serverName: "gpt.example") == 401, "\(host)")
        }
        for host in ["evil.example", "a.gpt.example", "a b", "localhost.evil.example"] {
            #expect(await status(known, host) == 421, "\(host)")
            #expect(await status(unknown, host, serverName: "gpt.example") == 421, "\(host)")
            #expect(await status(unknown, host) == 401, "\(host)")
            #expect(await status(unknown, host, serverName: "_") == 401, "\(host)")
        }
        #expect(await status(known, "inner.example", serverName: "inner.example") == 401)
        let answer = await unknown.serve(
            Stage.request("GET", "/", host: "evil.example", serverName: "gpt.example"))
        #expect(answer.text.contains("\"misdirected_request\""))
        #expect(answer.text.contains("PUBLIC_ORIGINS"))
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
            for sign in [
                foreign, Header("Origin", "null"), Header("Sec-Fetch-Site", "cross-site"),
                Header("Sec-Fetch-Site", "same-site"),
            ] {
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
        // Logging out with a token of one's own would clear the cookie of another user's browser.
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
        #expect(stage.journal.entries.allSatisfy { $0 != "closed" && $0 != "record" })
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
        stage.journal.clear()
        let refused = await stage.serve(Stage.request("OPTIONS", "/user/session", headers: other))
        #expect(refused.status == 401)
        #expect(stage.journal.entries.allSatisfy { $0 != "closed" && $0 != "record" })
        #expect(refused.headers.allSatisfy { !$0.name.hasPrefix("Access-Control") })
        let plain = await stage.serve(Stage.request("OPTIONS", "/user/session", headers: [origin]))
        #expect(plain.status == 401)
    }
    @Test("CORS_ORIGINS takes pages without an origin and those of apps, where it names them")
    func knowsApps() async throws {
        let stage = try Stage(["CORS_ORIGINS": "null, capacitor://localhost,http://localhost:5173"])
        let token = try await stage.user()
        for origin in ["null", "capacitor://localhost", "http://localhost:5173"] {
            let writer = await stage.get(
                "/user/session", token: token, headers: [Header("Origin", origin)])
            #expect(writer.value(of: "Access-Control-Allow-Origin") == origin)
        }
        for origin in ["capacitor://other", "ionic://localhost", "http://localhost:5174", ""] {
            let writer = await stage.get(
                "/user/session", token: token, headers: [Header("Origin", origin)])
            #expect(writer.value(of: "Access-Control-Allow-Origin") == nil, "\(origin)")
        }
        let two = [Header("Origin", "null"), Header("Origin", "http://localhost:5173")]
        let writer = await stage.get("/user/session", token: token, headers: two)
        #expect(writer.value(of: "Access-Control-Allow-Origin") == nil)
    }

    @Test(
        "A page that may call signs up, logs in and out by token, and has nothing to do with the cookie"
    )
    func servesPagesThatMayCall() async throws {
        let stage = try Stage(["CORS_ORIGINS": "http://localhost:5173"])
        let page = [
            Header("Origin", "http://localhost:5173"), Header("Sec-Fetch-Site", "same-site"),
        ]
        var token = ""
        for path in ["/user/signup", "/user/login"] {
            let writer = await stage.post(
                path, "username=page&password=12345678", headers: page)
            #expect(writer.status == 200, "\(path)")
            #expect(writer.value(of: "Set-Cookie") == nil)
            token = try #require(
                try JSONValue(parsing: Array(writer.text.utf8))["token"]?.stringValue)
        }
        let cookie = Header("Cookie", "sess=\(token)")
        #expect(await stage.post("/user/logout", headers: page + [cookie]).status == 403)
        #expect(await stage.post("/user/update", headers: page + [cookie]).status == 403)
        let out = await stage.post("/user/logout", token: token, headers: page)
        #expect(out.status == 200 && out.value(of: "Set-Cookie") == nil)
        #expect(out.value(of: "Access-Control-Allow-Origin") == "http://localhost:5173")
        #expect(await stage.get("/user/session", token: token).status == 401)
        let exposed = out.value(of: "Access-Control-Expose-Headers") ?? ""
        for name in [
            "X-Request-Id", "X-Upstream-Request-Id", "Retry-After", "retry-after-ms",
            "x-should-retry", "x-ratelimit-limit-requests", "x-ratelimit-limit-tokens",
            "x-ratelimit-remaining-requests", "x-ratelimit-remaining-tokens",
            "x-ratelimit-reset-requests", "x-ratelimit-reset-tokens", "RateLimit",
            "RateLimit-Policy", "Server-Timing",
        ] {
            #expect((", \(exposed), ").contains(", \(name), "), "\(name)")
        }
    }

    @Test("A link or an image cannot log out with the cookie, a program and our page can")
    func protectsTheSession() async throws {
        let stage = try Stage()
        let token = try await stage.user()
        let cookie = Header("Cookie", "sess=\(token)")
        for header in [
            Header("Accept", "text/html,application/xhtml+xml,*/*;q=0.8"),
            Header("Accept", "*/*, TEXT/HTML;q=0.1"), Header("Sec-Fetch-Site", "same-site"),
            Header("Sec-Fetch-Site", "cross-site"),
        ] {
            for method in ["GET", "HEAD"] {
                let request = Stage.request(method, "/user/logout", headers: [cookie, header])
                #expect(await stage.serve(request).status == 403, "\(header)")
            }
        }
        #expect(await stage.get("/user/session", headers: [cookie]).status == 200)
        let own = [cookie, Header("Accept", "*/*"), Header("Sec-Fetch-Site", "same-origin")]
        #expect(await stage.get("/user/logout", headers: own).status == 200)
        let other = try await stage.user("other")
        let html = Header("Accept", "text/html")
        #expect(await stage.get("/user/logout?token=\(other)", headers: [html]).status == 200)
    }
}
