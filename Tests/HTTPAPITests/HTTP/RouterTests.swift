import Formats
@testable import Gateway
@testable import HTTPAPI
import ProxyGPT
import TestSupport
import Testing

@Suite(.timeLimit(.minutes(5))) struct RouterTests {
    private let stage: Stage

    init() throws {
        stage = try Stage()
    }

    @Test("The table holds the paths of the specification's endpoints")
    func holdsTheTable() {
        #expect(
            Endpoints.all.map(\.path) == [
                "/chat/create", "/chat/read", "/chat/update", "/chat/delete", "/chat/prompt",
                "/chat/stop", "/chat/index", "/chat/user/add", "/chat/user/remove",
                "/group/create", "/group/delete", "/group/read", "/group/update", "/group/index",
                "/group/members", "/group/members/add", "/group/members/remove",
                "/user/signup", "/user/login", "/user/logout", "/user/read", "/user/update",
                "/user/session", "/user/password/update",
            ])
        for route in Endpoints.all {
            #expect(route.methods.contains("POST"))
            let reads = [
                "/user/logout", "/user/read", "/user/session", "/chat/read", "/chat/index",
                "/group/read", "/group/index", "/group/members",
            ].contains(route.path)
            #expect(route.methods.contains("GET") == reads)
            #expect(route.methods.contains("HEAD") == reads)
            guard case .own(let found) = Endpoints.destination(of: route.path) else {
                Issue.record("\(route.path) leads elsewhere")
                continue
            }
            #expect(found.path == route.path)
        }
    }

    @Test("Each endpoint refuses an unknown parameter before it misses one")
    func refusesUnknownParameters() async throws {
        let token = try await stage.user()
        for route in Endpoints.all where route.access != .open {
            let writer = await stage.post(route.path, "colour=red", token: token)
            #expect(writer.status == 400, "\(route.path)")
            #expect(writer.json?["error"]?["param"]?.stringValue == "colour", "\(route.path)")
            #expect(route.parameters.allSatisfy { $0.isShortASCII })
            #expect(Set(route.parameters).count == route.parameters.count)
        }
    }

    @Test("A path or method of any length leads nowhere, and neither is kept whole")
    func boundsPathsAndMethods() async throws {
        let token = try await stage.user()
        let long = String(repeating: "M", count: 33)
        #expect(await stage.serve(Stage.request(long, "/v1/models", token: token)).status == 400)
        #expect(await stage.serve(Stage.request("GÉT", "/v1/models", token: token)).status == 400)
        #expect(stage.events.closed.allSatisfy { $0.method.utf8.count <= 32 })
        for path in ["/v1\u{301}/models", "/user/read\u{301}"] {
            #expect(await stage.get(path, token: token).status == 404)
        }
        #expect(await stage.get("/user/read?\u{301}token=x", token: token).status == 400)
        #expect(stage.events.closed.last?.path.hasSameBytes(as: "/user/read") == true)
    }

    @Test("Everything below /v1/ is the upstream's, and what is close to it is not")
    func forwardsBelowV1() {
        for path in ["/v1/", "/v1/models", "/v1/a/b/c", "/v1/user/login"] {
            guard case .upstream = Endpoints.destination(of: path) else {
                Issue.record("\(path)")
                continue
            }
        }
        for path in [
            "/v1", "/", "/v10/models", "/V1/models", "/user", "/user/login/", "/user/Login",
            "/v2/models",
        ] {
            guard case .nowhere = Endpoints.destination(of: path) else {
                Issue.record("\(path)")
                continue
            }
        }
    }

    @Test(
        "Without a credential everything but signing up and logging in is 401, whatever the method")
    func demandsCredentials() async {
        let closed = Endpoints.all.filter { $0.access != .open }.map(\.path)
        for path in closed + ["/v1/models", "/v1/", "/", "/nowhere", "/v1"] {
            for method in ["GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "BREW"] {
                let writer = await stage.serve(Stage.request(method, path))
                #expect(writer.status == 401, "\(method) \(path)")
                #expect(writer.value(of: "WWW-Authenticate") == "Bearer")
                #expect(writer.value(of: "X-Request-Id") == "request-1")
            }
        }
        #expect(stage.upstream.calls.isEmpty)
        #expect(stage.events.closed.isEmpty)
        #expect(!stage.journal.entries.contains("open"))
    }

    @Test(
        "A wrong credential is 401 as well",
        arguments: ["Bearer wrong", "Basic eDp5", "Digest x", ""])
    func refusesWrongCredentials(value: String) async {
        for path in ["/user/read", "/v1/models", "/nowhere"] {
            let writer = await stage.get(path, headers: [Header("Authorization", value)])
            #expect(writer.status == 401)
            #expect(writer.errorCode == "unauthorized")
        }
    }

    @Test("A wrong method is 405 and says which are right")
    func refusesMethods() async throws {
        let token = try await stage.user()
        for route in Endpoints.all {
            for method in ["GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "get"]
            where !route.methods.contains(method) {
                let writer = await stage.serve(Stage.request(method, route.path, token: token))
                #expect(writer.status == 405, "\(method) \(route.path)")
                #expect(writer.value(of: "Allow") == route.methods.joined(separator: ", "))
                let code = method == "HEAD" ? nil : "method_not_allowed"
                #expect(writer.errorCode == code)
            }
        }
        // The token is as good as before.
        #expect(await stage.get("/user/session", token: token).status == 200)
    }

    @Test("A WebSocket that is not served is 426 to a caller, whatever the path")
    func refusesUpgrades() async throws {
        let token = try await stage.user()
        let names = [
            Header("Connection", "Upgrade"), Header("Upgrade", "WebSocket"),
        ]
        let paths =
            Endpoints.all.map { (method: $0.methods[0], path: $0.path, isOpen: $0.access == .open) }
            + [("GET", "/v1/models", false), ("POST", "/v1/chat/completions", false)]
        for (method, path, isOpen) in paths {
            let request = Stage.request(method, path, token: token, headers: names)
            let writer = await stage.serve(request)
            #expect(writer.status == 426, "\(path)")
            #expect(writer.errorCode == "upgrade_required")
            #expect(writer.value(of: "Upgrade") == "HTTP/1.1")
            let stranger = await stage.serve(Stage.request(method, path, headers: names))
            #expect(stranger.status == (isOpen ? 426 : 401), "\(path)")
        }
        let nowhere = Stage.request("GET", "/nowhere", token: token, headers: names)
        #expect(await stage.serve(nowhere).status == 404)
        // Not signed up, not logged out.
        #expect(await stage.get("/user/session", token: token).status == 200)
        for other in ["h2c", "HTTP/2.0, h2c", "websocket\u{301}", "xwebsocket"] {
            let header = [Header("Connection", "Upgrade"), Header("Upgrade", other)]
            let request = Stage.request("GET", "/user/session", token: token, headers: header)
            #expect(await stage.serve(request).status == 200, "\(other)")
        }
    }

    @Test("With a credential a path that is none is 404")
    func knowsNoOtherPaths() async throws {
        let token = try await stage.user()
        for path in ["/", "/v1", "/chat", "/user", "/user/login/"] {
            let writer = await stage.get(path, token: token)
            #expect(writer.status == 404, "\(path)")
            #expect(writer.errorCode == "not_found")
        }
        #expect(stage.events.closed.count == 5)
        #expect(
            stage.events.closed.allSatisfy {
                $0.status == 404 && $0.end == .done && $0.kind == .request
            })
    }

    @Test("A full worker refuses at once and asks nothing")
    func refusesWhenFull() async throws {
        let token = try await stage.user()
        let writer = await stage.serve(
            Stage.request("GET", "/v1/models", token: token, isRefused: true))
        #expect(writer.status == 503)
        #expect(writer.value(of: "Retry-After") == "1")
        #expect(
            stage.journal.entries == [
                "record", "begin 503", "write \(writer.text.prefix(40))", "finish",
            ])
    }

    @Test("More headers than may be are refused before any of them is looked at")
    func refusesManyHeaders() async throws {
        let token = try await stage.user()
        func ask(_ count: Int) async -> RecordingWriter {
            let headers = (0..<count).map { Header("X-\($0)", "a") }
            return await stage.get("/user/session", token: token, headers: headers)
        }
        // Beside Authorization and Host.
        #expect(await ask(Request.headerLimit - 2).status == 200)
        let writer = await ask(Request.headerLimit - 1)
        #expect(writer.status == 400)
        #expect(writer.text.contains("A request has at most 1000 header fields."))
    }

    @Test("A path that could mean two things is 400, with or without a credential")
    func refusesDottedPaths() async throws {
        let token = try await stage.user()
        for path in [
            "/v1/../user/read", "/v1/%2e%2e/x", "/v1//models", "/v1/a%2fb", "/v1/%00", "/v1/%zz",
            "*",
        ] {
            for token in [token, nil] {
                let writer = await stage.get(path, token: token)
                #expect(writer.status == 400, "\(path)")
                #expect(writer.errorCode == "invalid_request")
            }
        }
        #expect(stage.upstream.calls.isEmpty)
    }

    @Test("Refusals of strangers are recorded, and they do not wait for it")
    func recordsStrangers() async {
        stage.events.set { $0.closings = Gate() }
        await stage.get("/user/read?token=secret")
        #expect(stage.journal.entries.first == "record")
        let row = stage.events.recorded.first
        #expect(
            row?.status == 401 && row?.end == .done && row?.path == "/user/read"
                && row?.userID == nil)
    }

    @Test("An internal error tells the caller nothing and the log everything")
    func hidesInternalErrors() async throws {
        let token = try await stage.user()
        await stage.breakDatabase()
        let writer = await stage.get("/user/read", token: token)
        #expect(writer.status == 500)
        #expect(writer.errorCode == "internal")
        #expect(!writer.text.contains("closed"))
        #expect(
            stage.log.all.contains {
                $0.contains("the storage is closed") && $0.contains("request-1")
            })
        #expect(!stage.log.all.joined().contains(token))
    }
}
