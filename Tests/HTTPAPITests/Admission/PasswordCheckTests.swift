import Formats
@testable import Gateway
import HTTPAPI
import ProxyGPT
import Testing

@Suite(.timeLimit(.minutes(5))) struct PasswordCheckTests {
    private let stage: Stage

    init() throws {
        stage = try Stage(["PASSWORD_MIN": "6"])
    }

    /// Posts the same at once, and returns the statuses.
    private func statuses(_ count: Int, _ path: String, _ body: String, token: String? = nil) async
        -> [Int]
    {
        await withTaskGroup(of: Int?.self) { group in
            for _ in 0..<count {
                group.addTask { await stage.post(path, body, token: token).status }
            }
            var statuses: [Int] = []
            for await status in group { statuses.append(status ?? 0) }
            return statuses
        }
    }

    @Test("Twelve right passwords at once are twelve log-ins")
    func letsRightOnesIn() async throws {
        _ = await stage.post("/user/signup", "username=asim&password=bazbar")
        let statuses = await statuses(12, "/user/login", "username=asim&password=bazbar")
        #expect(statuses.allSatisfy { $0 == 200 }, "\(statuses)")
    }

    @Test("Of two hundred wrong passwords at once five are looked at")
    func stopsParallelGuesses() async throws {
        let token = await stage.post("/user/signup", "username=asim&password=bazbar")
            .json?["token"]?.stringValue
        let login = await statuses(200, "/user/login", "username=asim&password=bazbaz")
        #expect(login.filter { $0 == 401 }.count == 5 && login.filter { $0 == 429 }.count == 195)
        stage.clock.advance(seconds: 7200)
        let change = await statuses(
            200, "/user/password/update", "old_password=bazbaz&new_password=foobar", token: token)
        #expect(change.filter { $0 == 401 }.count == 5 && change.filter { $0 == 429 }.count == 195)
        // What was guessed in vain does not keep the owner out for long.
        stage.clock.advance(seconds: 2)
        let owner = await stage.post(
            "/user/login", "username=asim&password=bazbar", address: "198.51.100.7")
        #expect(owner.status == 200)
    }

    @Test("A name that nobody can have is a wrong one, whatever its length")
    func refusesLongNames() async throws {
        let name = "a" + String(repeating: "\u{301}\u{323}", count: 100_000)
        let writer = await stage.post("/user/login", "username=\(name)&password=bazbar")
        #expect(writer.status == 401)
        #expect(stage.events.recorded.contains { $0.kind == .loginFailure })
    }

    @Test("A password of before normalization is renewed, and both spellings log in")
    func renewsHashes() async throws {
        _ = await stage.post("/user/signup", "username=asim&password=pass%C3%A9word")
        for password in ["pass%C3%A9word", "passe%CC%81word"] {
            let writer = await stage.post("/user/login", "username=asim&password=\(password)")
            #expect(writer.status == 200)
        }
    }

    @Test("The question whether a body may come is answered, and only a refusal is recorded")
    func admits() async throws {
        let token = try await stage.user()
        func ask(_ token: String?, _ headers: [Header] = [], isRefused: Bool = false) async
            -> RecordingWriter
        {
            await stage.serve(
                Stage.request(
                    "POST", "/v1/files", token: token, headers: headers, isRefused: isRefused,
                    asksAdmission: true))
        }
        let granted = await ask(token)
        #expect(granted.status == 204 && granted.text.isEmpty)
        #expect(stage.events.recorded.isEmpty && stage.events.closed.isEmpty)
        #expect(await ask("wrong").status == 401)
        #expect(await ask(nil).status == 401)
        let foreign = [
            Header("Cookie", "sess=\(token)"), Header("Origin", "https://evil.example"),
        ]
        #expect(await ask(nil, foreign).status == 403)
        #expect(await ask(token, isRefused: true).status == 503)
        #expect(stage.events.recorded.count == 4 && stage.events.closed.isEmpty)
        #expect(stage.upstream.calls.isEmpty)
    }
}
