import Formats
@testable import Gateway
import HTTPAPI
import ProxyGPT
import Testing

@Suite(.timeLimit(.minutes(5))) struct UserChangeTests {
    private let stage: Stage

    init() throws {
        stage = try Stage(["PASSWORD_MIN": "6"])
    }

    private func signUp(_ name: String) async throws -> (token: String, id: String) {
        let writer = await stage.post("/user/signup", "username=\(name)&password=bazbar")
        return (
            try #require(writer.json?["token"]?.stringValue),
            try #require(writer.json?["user"]?["id"]?.stringValue)
        )
    }

    @Test("One reads oneself in full, and strangers do not exist")
    func reads() async throws {
        let mine = try await signUp("asim")
        let other = try await signUp("other")
        let own = await stage.get("/user/read", token: mine.token)
        #expect(own.json?["id"]?.stringValue == mine.id)
        #expect(own.text.hasSuffix(#""groups":[]}"#))
        #expect(await stage.post("/user/read", "id=\(mine.id)", token: mine.token).text == own.text)
        let stranger = await stage.get("/user/read?id=\(other.id)", token: mine.token)
        let nobody = await stage.get("/user/read?id=nobody", token: mine.token)
        #expect(stranger.status == 404 && stranger.text == nobody.text)
    }

    @Test("An update changes what is given and leaves the rest")
    func updates() async throws {
        let (token, _) = try await signUp("asim")
        var writer = await stage.post("/user/update", "first_name=A&last_name=B", token: token)
        #expect(writer.json?["first_name"]?.stringValue == "A")
        stage.clock.advance(seconds: 5)
        writer = await stage.post(
            "/user/update", #"{"username":"Neu","first_name":null}"#, token: token)
        #expect(writer.json?["username"]?.stringValue == "Neu")
        #expect(writer.json?["first_name"]?.stringValue == "A")
        #expect(writer.json?["updated_at"]?.stringValue == stage.clock.now().description)
        writer = await stage.post("/user/update", "first_name=", token: token)
        #expect(writer.json?["first_name"]?.stringValue == "")
        #expect(await stage.post("/user/login", "username=neu&password=bazbar").status == 200)
    }

    @Test("The name of another user cannot be taken, one's own may change its case")
    func keepsNamesUnique() async throws {
        let (token, _) = try await signUp("asim")
        _ = try await signUp("other")
        #expect(await stage.post("/user/update", "username=OTHER", token: token).status == 409)
        #expect(await stage.post("/user/update", "username=ASIM", token: token).status == 200)
        let long = String(repeating: "x", count: 255)
        #expect(await stage.post("/user/update", "first_name=\(long)", token: token).status == 400)
    }

    @Test("A new password ends all other sessions")
    func changesThePassword() async throws {
        let (first, _) = try await signUp("asim")
        let second = try #require(
            await stage.post("/user/login", "username=asim&password=bazbar").json?["token"]?
                .stringValue)
        let body = "old_password=bazbar&new_password=foobar"
        #expect(await stage.post("/user/password/update", body, token: second).text == "{}")
        #expect(await stage.get("/user/session", token: first).status == 401)
        #expect(await stage.get("/user/session", token: second).status == 200)
        #expect(await stage.post("/user/login", "username=asim&password=bazbar").status == 401)
        #expect(await stage.post("/user/login", "username=asim&password=foobar").status == 200)
    }

    @Test("The old password must be right and the new one long enough")
    func checksPasswords() async throws {
        let (token, _) = try await signUp("asim")
        for (body, status) in [
            ("old_password=wrong!&new_password=foobar", 401),
            ("old_password=bazbar&new_password=foo", 400),
            ("new_password=foobar", 400), ("old_password=bazbar", 400),
            ("old_password=bazbar&new_password=\(String(repeating: "x", count: 1025))", 400),
        ] {
            #expect(
                await stage.post("/user/password/update", body, token: token).status == status,
                "\(body.prefix(50))")
        }
        #expect(await stage.get("/user/session", token: token).status == 200)
    }

    @Test("Old hashes are made stronger at the next login, and no password is in row or log")
    func keepsPasswordsSecret() async throws {
        _ = try await signUp("asim")
        await stage.post("/user/login", "username=asim&password=bazbar")
        await stage.post("/user/login", "username=asim&password=bazbaz")
        let rows = (stage.events.closed + stage.events.recorded).map { "\($0)" }.joined()
        #expect(!rows.contains("bazba") && !rows.contains("pgpt_"))
        #expect(!stage.log.all.joined().contains("bazba"))
    }

    @Test("A client that leaves while it sends its form closes the row as client_gone")
    func recordsALeave() async throws {
        let (token, _) = try await signUp("asim")
        for token in [token, nil] {
            stage.journal.clear()
            let path = token == nil ? "/user/login" : "/user/update"
            let writer = await stage.serve(
                Stage.request("POST", path, token: token, pieces: ["username=x"], isCut: true))
            #expect(writer.status == nil)
            #expect(stage.journal.entries.last == "abort")
        }
        #expect(
            stage.events.closed.last?.end == .clientGone && stage.events.closed.last?.status == nil)
        #expect(stage.events.recorded.last?.end == .clientGone)
        #expect(stage.log.all.allSatisfy { $0.hasPrefix("debug request ") })
    }

    @Test("A body of more than a mebibyte is refused")
    func limitsBodies() async throws {
        let (token, _) = try await signUp("asim")
        let long = String(repeating: "x", count: 1 << 20)
        #expect(await stage.post("/user/update", "first_name=" + long, token: token).status == 413)
        let unknown = Stage.request("POST", "/user/update", token: token, pieces: [long, "x"])
        #expect(await stage.serve(unknown).status == 413)
    }
}
