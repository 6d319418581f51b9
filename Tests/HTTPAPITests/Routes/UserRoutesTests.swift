import Formats
@testable import Gateway
import HTTPAPI
import ProxyGPT
import Testing

@Suite(.timeLimit(.minutes(5))) struct UserRoutesTests {
    private let stage: Stage

    init() throws {
        stage = try Stage(["PASSWORD_MIN": "6"])
    }

    private func token(_ writer: RecordingWriter) throws -> String {
        try #require(writer.json?["token"]?.stringValue)
    }

    private func signUp(_ name: String = "asim", _ password: String = "bazbar") async throws
        -> String
    {
        try token(await stage.post("/user/signup", "username=\(name)&password=\(password)"))
    }

    @Test("Signing up answers a token and the user, and sets the cookie")
    func signsUp() async throws {
        let writer = await stage.post(
            "/user/signup", "username=Asim&password=bazbar&first_name=A&last_name=B")
        #expect(writer.status == 200)
        #expect(writer.value(of: "Content-Type") == "application/json")
        let token = try token(writer)
        #expect(
            writer.value(of: "Set-Cookie")
                == "sess=\(token); Path=/; Max-Age=2592000; HttpOnly; SameSite=Lax")
        let user = try #require(writer.json?["user"])
        #expect(user["username"]?.stringValue == "Asim")
        #expect(user["first_name"]?.stringValue == "A" && user["last_name"]?.stringValue == "B")
        #expect(user["role"]?.stringValue == "user")
        #expect(user["created_at"]?.stringValue == stage.clock.now().description)
        #expect(UUIDText.isShaped(user["id"]?.stringValue ?? ""))
        #expect(!writer.text.contains("bazbar") && !writer.text.contains("scrypt"))
        #expect(stage.events.closed.first?.userID?.text == user["id"]?.stringValue)
        #expect(stage.events.closed.first?.requestBody == nil)
    }

    @Test("A form, JSON, and JSON labelled as a form all sign up")
    func takesEveryFormat() async throws {
        let json = #"{"username":"N","password":"bazbar"}"#
        for (name, body, type) in [
            ("one", "username=N&password=bazbar", nil), ("two", json, "application/json"),
            ("three", " \n" + json, "application/x-www-form-urlencoded"), ("four", json, nil),
        ] {
            let writer = await stage.post(
                "/user/signup", body.replacing("N", with: name),
                headers: type.map { [Header("Content-Type", $0)] } ?? [])
            #expect(writer.json?["user"]?["username"]?.stringValue == name)
        }
        #expect(await stage.post("/user/signup?username=five&password=bazbar").status == 200)
    }

    @Test("A name that differs in case alone is taken")
    func refusesTakenNames() async throws {
        _ = try await signUp("Asim")
        let writer = await stage.post("/user/signup", "username=aSIM&password=bazbar")
        #expect(writer.status == 409)
        #expect(writer.errorCode == "conflict")
        #expect(writer.json?["error"]?["param"]?.stringValue == "username")
    }

    @Test(
        "What is wrong with a sign-up is told by the parameter's name",
        arguments: [
            ("password=bazbar", "username"), ("username=a", "password"),
            ("username=a&password=short", "password"),
            ("username=a:b&password=bazbar", "username"), ("username=&password=bazbar", "username"),
            ("username=a&username=b&password=bazbar", "username"),
            ("username=%zz&password=bazbar", "username"),
            ("username=a&password=%ff%ff%ff%ff%ff%ff", "password"),
            (#"{"username":1,"password":"bazbar"}"#, "username"),
            ("username=a&password=bazbar&first_name=%00", "first_name"),
            (#"{"username":"a","username":"b","password":"bazbar"}"#, "username"),
        ])
    func namesTheParameter(body: String, parameter: String) async {
        let writer = await stage.post("/user/signup", body)
        #expect(writer.status == 400)
        #expect(writer.json?["error"]?["param"]?.stringValue == parameter)
    }

    @Test("A closed sign-up is forbidden")
    func closesSignUp() async throws {
        let stage = try Stage(["SIGNUP": "closed"])
        #expect(await stage.post("/user/signup", "username=a&password=bazbar12").status == 403)
    }

    @Test("Logging in gives a token of its own each time")
    func logsIn() async throws {
        let first = try await signUp()
        let writer = await stage.post("/user/login", "username=ASIM&password=bazbar")
        let second = try token(writer)
        #expect(first != second)
        #expect(writer.values(of: "Set-Cookie").count == 1)
        for token in [first, second] {
            #expect(await stage.get("/user/session", token: token).status == 200)
        }
    }

    @Test("A wrong password and an unknown name are told alike, and recorded")
    func refusesWrongLogins() async throws {
        _ = try await signUp()
        let wrong = await stage.post("/user/login", "username=asim&password=bazbaz")
        let unknown = await stage.post("/user/login", "username=nobody&password=bazbar")
        #expect(wrong.status == 401 && unknown.status == 401)
        #expect(wrong.text == unknown.text)
        let rows = stage.events.recorded.filter { $0.kind == .loginFailure }
        #expect(rows.count == 2)
        #expect(rows.first?.userID != nil && rows.last?.userID == nil)
    }

    @Test("A name that is too long for one is told like a wrong one, and becomes no row's text")
    func refusesLongNames() async throws {
        _ = try await signUp()
        let wrong = await stage.post("/user/login", "username=asim&password=bazbaz")
        for name in [String(repeating: "a", count: 255), String(repeating: "a", count: 900_000)] {
            let writer = await stage.post("/user/login", "username=\(name)&password=bazbar")
            #expect(writer.status == 401 && writer.text == wrong.text)
        }
        let throttle = LoginThrottle(foldedName: "", clientAddress: "192.0.2.1")
        #expect(throttle.keys.allSatisfy { $0.utf8.count < 100 })
    }

    @Test("A user is read by id or by name, and the answer says what was looked for")
    func readsUsers() async throws {
        let (mine, _) = (try await signUp("Asim"), try await signUp("Other"))
        let own = await stage.post("/user/read", "username=ASIM", token: mine)
        #expect(own.status == 200 && own.json?["groups"] != nil)
        for (body, message, parameter) in [
            ("username=other", "There is no user of this name.", "username"),
            ("username=nobody", "There is no user of this name.", "username"),
            ("id=nobody", "There is no user with this id.", "id"),
            ("id=017f22e2-79b0-7cc3-98c4-dc0c0c07398f", "There is no user with this id.", "id"),
        ] {
            let writer = await stage.post("/user/read", body, token: mine)
            #expect(writer.status == 404, "\(body)")
            #expect(writer.json?["error"]?["message"]?.stringValue == message, "\(body)")
            #expect(writer.json?["error"]?["param"]?.stringValue == parameter, "\(body)")
        }
        let chat = await stage.post("/chat/create", "name=a", token: mine)
        let id = try #require(chat.json?["id"]?.stringValue)
        #expect(
            await stage.post("/chat/user/add", "id=\(id)&username=other", token: mine).status
                == 200)
        let other = await stage.post("/user/read", "username=OTHER", token: mine)
        #expect(other.status == 200 && other.json?["username"]?.stringValue == "Other")
        #expect(other.json?["groups"] == nil)
        let nobody = await stage.post("/chat/user/add", "id=\(id)&username=no", token: mine)
        #expect(nobody.status == 404)
        #expect(nobody.json?["error"]?["param"]?.stringValue == "username")
    }

    @Test("Five failures are free, then one waits, and the right password must wait as well")
    func slowsDown() async throws {
        _ = try await signUp()
        for _ in 0..<5 {
            #expect(await stage.post("/user/login", "username=asim&password=x").status == 401)
        }
        let early = await stage.post("/user/login", "username=asim&password=bazbar")
        #expect(early.status == 429)
        #expect(early.errorCode == "rate_limited")
        #expect(early.value(of: "Retry-After") == "1")
        stage.clock.advance(seconds: 1)
        #expect(await stage.post("/user/login", "username=asim&password=x").status == 401)
        #expect(
            await stage.post("/user/login", "username=asim&password=x").value(of: "Retry-After")
                == "2")
        // Nobody else is slowed for long.
        let elsewhere = await stage.post(
            "/user/login", "username=asim&password=bazbar", address: "198.51.100.7")
        #expect(elsewhere.status == 429 && elsewhere.value(of: "Retry-After") == "2")
        stage.clock.advance(seconds: 2)
        #expect(await stage.post("/user/login", "username=asim&password=bazbar").status == 200)
        #expect(await stage.post("/user/login", "username=asim&password=x").status == 401)
        #expect(await stage.post("/user/login", "username=asim&password=bazbar").status == 200)
    }

    @Test("Bearer, Basic and the cookie all prove the same session")
    func takesEveryCredential() async throws {
        let token = try await signUp()
        let basic = Base64.encode("Asim:\(token)")
        for header in [
            Header("Authorization", "Bearer \(token)"), Header("Authorization", "Basic \(basic)"),
            Header("Cookie", "a=b; sess=\(token)"),
        ] {
            let writer = await stage.get("/user/session", headers: [header])
            #expect(writer.json?["user"]?["username"]?.stringValue == "asim", "\(header.name)")
        }
        let other = Base64.encode("other:\(token)")
        #expect(
            await stage.get("/user/session", headers: [Header("Authorization", "Basic \(other)")])
                .status == 401)
        // A wrong token of ours decides, and a good cookie does not make up for it; a front's header is
        // none.
        let wrong = "pgpt_" + String(repeating: "A", count: 43)
        for (header, status) in [
            ("Bearer \(wrong)", 401), ("Bearer front", 200), ("Basic eDp5", 200),
        ] {
            let both = [Header("Authorization", header), Header("Cookie", "sess=\(token)")]
            #expect(await stage.get("/user/session", headers: both).status == status, "\(header)")
        }
        let several = Header("Cookie", "sess=abc; sess=\(wrong); sess=\(token)")
        #expect(await stage.get("/user/session", headers: [several]).status == 200)
        #expect(await stage.get("/user/session?token=\(token)").status == 401)
    }

    @Test("A session tells its times, which move on at most once an hour")
    func showsTheSession() async throws {
        let start = stage.clock.now()
        let token = try await signUp()
        stage.clock.advance(seconds: 3599)
        var session = await stage.get("/user/session", token: token).json?["session"]
        #expect(session?["last_used_at"]?.stringValue == start.description)
        stage.clock.advance(seconds: 1)
        _ = await stage.get("/user/session", token: token)
        session = await stage.get("/user/session", token: token).json?["session"]
        #expect(session?["created_at"]?.stringValue == start.description)
        #expect(session?["last_used_at"]?.stringValue == start.adding(seconds: 3600).description)
        #expect(
            session?["expires_at"]?.stringValue
                == start.adding(seconds: 3600 + 30 * 86_400).description)
        stage.clock.advance(seconds: 30 * 86_400)
        #expect(await stage.get("/user/session", token: token).status == 401)
    }

    @Test("Logging out ends the session and clears the cookie, however the token comes")
    func logsOut() async throws {
        for way in ["bearer", "cookie", "query", "form", "json", "get"] {
            let token = try await signUp(way)
            let cookie = [Header("Cookie", "sess=\(token)")]
            let writer =
                switch way {
                case "bearer": await stage.post("/user/logout", token: token)
                case "cookie": await stage.post("/user/logout", headers: cookie)
                case "query": await stage.post("/user/logout?token=\(token)")
                case "form": await stage.post("/user/logout", "token=\(token)")
                case "json": await stage.post("/user/logout", "{\"token\": \"\(token)\"}")
                default: await stage.get("/user/logout", headers: cookie)
                }
            #expect(writer.status == 200 && writer.text == "{}", "\(way)")
            #expect(writer.value(of: "Set-Cookie")?.hasPrefix("sess=; Path=/; Max-Age=0;") == true)
            #expect(await stage.get("/user/session", token: token).status == 401)
            #expect(await stage.post("/user/logout", "token=\(token)").status == 401)
        }
        #expect(await stage.post("/user/logout", "token=").status == 401)
    }
}
