internal import Foundation
internal import NIOHTTP1
internal import Testing

@testable import ProxyGPTClient

@Suite struct CallTests {
    struct Failed: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let answer: Answer
        /// Whether the call is sent again.
        var isAgain = false
        var pause: Duration?

        static func ours(
            _ status: Int, _ code: String, after seconds: Int? = nil, isAgain: Bool = false
        ) -> Failed {
            let headers = seconds.map { [("Retry-After", "\($0)")] } ?? []
            return Failed(
                testDescription: "\(status) \(code) \(seconds.map { "after \($0)" } ?? "")",
                answer: .whole(status, refusal(code), headers), isAgain: isAgain,
                pause: isAgain ? seconds.map { .seconds($0) } : nil)
        }
    }

    private static let failures = [
        Failed(
            testDescription: "a broken connection", answer: .stream("", .byReset), isAgain: true),
        .ours(429, "rate_limited", after: 3, isAgain: true), .ours(429, "rate_limited"),
        .ours(429, "rate_limited", after: 61), .ours(503, "unavailable", after: 5, isAgain: true),
        .ours(503, "unavailable", isAgain: true), .ours(502, "upstream_error"),
        // nginx, while a worker restarts.
        .ours(502, "upstream_error", after: 1, isAgain: true), .ours(504, "upstream_timeout"),
        .ours(500, "internal"), .ours(401, "unauthorized", after: 1),
        Failed(testDescription: "502 of a proxy", answer: .whole(502, "<html>"), isAgain: true),
        Failed(testDescription: "504 of a proxy", answer: .whole(504, ""), isAgain: true),
        Failed(testDescription: "an answer that is not JSON", answer: .whole(200, "<html>")),
        Failed(
            testDescription: "a redirection",
            answer: .whole(307, "", [("Location", "/elsewhere")])),
    ]

    private static let session =
        #"{"user":{"id":"u","username":"n","first_name":"","last_name":""},"session":{"id":"s","#
        + #""created_at":"2026-11-30T12:00:00.000Z","last_used_at":"2026-11-30T12:00:00.000Z","#
        + #""expires_at":"2026-11-30T12:00:00.000Z"}}"#

    @Test(arguments: failures)
    func `reads and prompts are sent again where that is safe`(failed: Failed) async throws {
        try await FakeServer.with([
            "/user/session": .inTurn(failed.answer, .whole(200, Self.session)),
            "/chat/prompt": .inTurn(
                failed.answer,
                .whole(200, #"{"message":\#(message("done", "r")),"reply":"r"}"#)),
            "/chat/create": .inTurn(failed.answer, .whole(200, "{}")),
        ]) { client, server in
            let readError = await thrown { _ = try await client.users.session() }
            let promptError = await thrown { _ = try await client.chats.prompt(chatID, "Hello") }
            #expect((readError == nil) == failed.isAgain)
            #expect((promptError == nil) == failed.isAgain)
            let prompts = server.requests("/chat/prompt")
            #expect(prompts.count == (failed.isAgain ? 2 : 1))
            let keys = prompts.map { $0.headers["Idempotency-Key"].first ?? "" }
            #expect(Set(keys).count == 1 && keys[0].utf8.count >= 16)
            #expect(server.pauses.count == (failed.isAgain ? 2 : 0))
            for pause in server.pauses {
                #expect(failed.pause.map { $0 == pause } ?? (.zero < pause && pause <= .seconds(1)))
            }
            let createError = await thrown { _ = try await client.chats.create() }
            #expect(createError is ProxyGPTError)
            #expect(server.requests("/chat/create").count == 1)
            #expect(server.requests("/elsewhere").isEmpty)
        }
    }

    @Test(arguments: [0, 2, 5])
    func `retries have a limit`(count: Int) async throws {
        try await FakeServer.with(["/user/session": .inTurn(.whole(503, ""))], maxRetries: count) {
            client, server in
            #expect(await thrown { _ = try await client.users.session() } != nil)
            #expect(server.requests("/user/session").count == 1 + count)
        }
    }

    @Test func `the time between attempts doubles up to its limit`() {
        for attempt in 0..<40 {
            let most = Duration.seconds(attempt < 4 ? 0.5 * Double(1 << attempt) : 8)
            for _ in 0..<50 {
                let delay = backoff(attempt)
                #expect(delay >= most / 2 && delay <= most)
            }
        }
    }

    @Test(
        arguments: [
            ("", nil), ("0", 0), (" 12 ", 12), ("-1", nil), ("soon", nil), ("99999999999", nil),
            ("Mon, 30 Nov 2026 12:00:30 GMT", 30), ("Mon, 30 Nov 2026 11:00:00 GMT", 0),
        ] as [(String, Double?)])
    func `Retry-After is seconds or a date`(header: String, seconds: Double?) throws {
        let now = try Date("2026-11-30T12:00:00Z", strategy: .iso8601)
        #expect(ProxyGPTError.seconds(retryAfter: header, now: now) == seconds)
    }

    @Test func `errors are typed`() async throws {
        let body =
            #"{"error":{"message":"Too many.","type":"t","code":"rate_limited","param":"id","#
            + #""upstream_message":"slow"}}"#
        try await FakeServer.with([
            "/chat/prompt": .inTurn(
                .whole(429, body, [("X-Request-Id", "req-1"), ("Retry-After", "90")]))
        ]) { client, _ in
            let error = await thrown { _ = try await client.chats.prompt(chatID, "Hello") }
            let expected = ProxyGPTError(
                status: 429, code: "rate_limited", param: "id", "Too many.", requestID: "req-1",
                retryAfter: 90, upstreamMessage: "slow")
            #expect(error as? ProxyGPTError == expected)
            let text = "429 rate_limited: Too many. (upstream: slow) (request req-1)"
            #expect(expected.description == text)
        }
    }

    @Test func `a server that is away is a connection error`() async throws {
        try await FakeServer.with { client, server in
            await server.stop()
            let error = await thrown { _ = try await client.users.session() }
            let known = try #require(error as? ProxyGPTError)
            #expect(known.status == 0 && known.code == "connection")
            #expect(!known.description.contains("pgpt_secret"))
        }
    }

    @Test func `a call has a timeout`() async throws {
        try await FakeServer.with(
            ["/user/session": .inTurn(.silence)], timeout: .milliseconds(100)
        ) { client, server in
            let error = await thrown { _ = try await client.users.session() }
            #expect((error as? ProxyGPTError)?.code == "timeout")
            #expect(server.requests("/user/session").count <= 1)
        }
    }

    @Test func `a call ends with its task`() async throws {
        try await FakeServer.with(["/user/session": .inTurn(.silence)]) { client, server in
            let task = Task { _ = try await client.users.session() }
            await server.awaitRequest("/user/session")
            task.cancel()
            let result = await task.result
            #expect(throws: CancellationError.self) { try result.get() }
            #expect(server.requests("/user/session").count == 1)
        }
    }

    @Test(
        arguments: [
            ("http://localhost:8080", "http://localhost:8080/v1"),
            ("https://api.example.org/", "https://api.example.org/v1"),
            (" https://example.org/gpt/api/ ", "https://example.org/gpt/api/v1"),
            ("http://[::1]:8080", "http://[::1]:8080/v1"), ("", nil), ("localhost:8080", nil),
            ("ftp://example.org", nil), ("http://", nil), ("http://asim:secret@example.org", nil),
            ("http://example.org?token=secret", nil), ("http://example.org/#secret", nil),
        ] as [(String, String?)])
    func `the base address is checked`(address: String, openai: String?) {
        do {
            #expect(try ProxyGPT(address).openai.baseURL == openai)
        } catch {
            #expect(openai == nil)
            #expect((error as? ProxyGPTError)?.code == "invalid_argument")
            #expect(!"\(error)".contains("secret"))
        }
    }

    @Test(arguments: ["", "two words", "line\nfeed", "ümlaut"])
    func `a token that no header takes is refused`(token: String) throws {
        do {
            _ = try ProxyGPT("http://localhost", token: token)
            Issue.record("the token was taken")
        } catch let error as ProxyGPTError {
            #expect(error.code == "invalid_argument")
            #expect(token.isEmpty || !error.description.contains(token))
        }
    }

    @Test func `a base address may have a path`() async throws {
        try await FakeServer.with(
            ["/gpt/user/session": .inTurn(.whole(200, Self.session))], path: "/gpt/"
        ) { client, _ in
            let session = try await client.users.session()
            #expect(session.user.id == "u" && session.user.role == nil)
        }
    }

    @Test func `the client uses the token of its session`() async throws {
        let login = Handler.inTurn(
            .whole(
                200,
                #"{"token":"pgpt_new","user":{"id":"u","username":"n","first_name":"","last_name":""}}"#
            ))
        try await FakeServer.with([
            "/user/signup": login, "/user/login": login, "/user/logout": .inTurn(.whole(200, "{}")),
            "/user/session": .inTurn(.whole(200, Self.session)),
        ]) { client, server in
            _ = try await client.users.signUp(username: "n", password: "p")
            #expect(client.token == "pgpt_new" && client.openai.apiKey == "pgpt_new")
            let signUp = try #require(server.requests("/user/signup").first)
            #expect(signUp.headers["Authorization"].isEmpty)
            #expect(Set(signUp.fields.keys) == ["username", "password"])
            _ = try await client.users.session()
            let read = try #require(server.requests("/user/session").first)
            #expect(read.headers["Authorization"] == ["Bearer pgpt_new"])
            try await client.users.logOut()
            #expect(client.token == nil)
            _ = try await client.users.logIn(username: "n", password: "p")
            #expect(client.token == "pgpt_new")
        }
    }

    @Test func `a log-out of a session that has ended drops the token`() async throws {
        try await FakeServer.with(["/user/logout": .inTurn(.whole(401, refusal("unauthorized")))]) {
            client, _ in
            try await client.users.logOut()
            #expect(client.token == nil)
        }
    }

    // MARK: - Lists

    /// A list of the numbers below an anchor, paged as the server pages its lists.
    private static func page(
        _ count: Int, _ size: Int, _ before: String?, without deleted: Set<Int> = []
    )
        throws -> (elements: [Int], hasMore: Bool)
    {
        let end = before.flatMap { Int($0) } ?? count + 1
        if deleted.contains(end) {
            throw ProxyGPTError(status: 400, code: "invalid_request", "No.")
        }
        let rest = (1..<max(end, 1)).filter { !deleted.contains($0) }
        return (rest.suffix(size), rest.count > size)
    }

    @Test(arguments: [0, 1, 2, 3, 4, 7, 250], [1, 3, 100])
    func `lists are read page by page`(count: Int, size: Int) async throws {
        let list = PagedList<Int>(id: { "\($0)" }) { try Self.page(count, size, $0) }
        var numbers: [Int] = []
        for try await number in list { numbers.append(number) }
        #expect(numbers == (0..<count).map { count - $0 })
    }

    @Test func `a list may lose what it has shown`() async throws {
        let deleted = Deleted()
        let list = PagedList<Int>(id: { "\($0)" }) {
            try Self.page(20, 3, $0, without: await deleted.numbers)
        }
        for try await number in list { await deleted.add(number) }
        #expect(await deleted.numbers == Set(1...20))
    }

    private actor Deleted {
        var numbers: Set<Int> = []
        func add(_ number: Int) { numbers.insert(number) }
    }

    @Test func `the pages of a list are calls`() async throws {
        func group(_ id: Int) -> String {
            #"{"id":"\#(id)","name":"n","description":"","owner_id":"o","#
                + #""created_at":"2026-11-30T12:00:00.000Z","updated_at":"2026-11-30T12:00:00.000Z"}"#
        }
        try await FakeServer.with([
            "/group/index": .inTurn(
                .whole(200, #"{"groups":[\#(group(2)),\#(group(3))],"has_more":true}"#),
                .whole(200, #"{"groups":[\#(group(1))],"has_more":false}"#))
        ]) { client, server in
            var ids: [String] = []
            for try await group in client.groups.listAll(limit: 2) { ids.append(group.id) }
            #expect(ids == ["3", "2", "1"])
            #expect(server.allRequests.map(\.query) == ["limit=2", "before=2&limit=2"])
        }
    }

    // MARK: - Fields

    @Test func `calls have the fields of the API`() async throws {
        try await FakeServer.with { client, server in
            func expect(
                _ path: String, _ fields: String, _ call: () async throws -> Void
            ) async throws {
                server.handle([path: .inTurn(.whole(200, "{}"))])
                server.forget()
                _ = await thrown(by: call)
                let request = try #require(server.requests(path).first)
                let body = try JSONSerialization.data(
                    withJSONObject: request.fields, options: [.sortedKeys, .withoutEscapingSlashes])
                let got =
                    request.body.isEmpty ? request.query : String(decoding: body, as: UTF8.self)
                #expect(got == fields, "\(path)")
            }
            try await expect("/user/read", "") { _ = try await client.users.read() }
            try await expect("/user/read", "id=u") { _ = try await client.users.read(id: "u") }
            try await expect("/user/read", "username=%C3%A4%20b%26c") {
                _ = try await client.users.read(username: "ä b&c")
            }
            try await expect("/user/update", #"{"first_name":""}"#) {
                _ = try await client.users.update(firstName: "")
            }
            try await expect("/user/password/update", #"{"new_password":"b","old_password":"a"}"#) {
                try await client.users.changePassword(oldPassword: "a", newPassword: "b")
            }
            try await expect("/chat/create", "{}") { _ = try await client.chats.create() }
            try await expect("/chat/create", #"{"group_id":"g","model":"m","name":"n"}"#) {
                _ = try await client.chats.create(name: "n", model: "m", groupID: "g")
            }
            try await expect("/chat/index", "after=a&group_id=g&limit=2") {
                _ = try await client.chats.list(groupID: "g", limit: 2, after: "a")
            }
            try await expect("/chat/read", "before=b&id=c") {
                _ = try await client.chats.read("c", before: "b")
            }
            try await expect("/chat/update", #"{"id":"c","model":"m"}"#) {
                _ = try await client.chats.update("c", model: "m")
            }
            try await expect("/chat/delete", #"{"id":"c"}"#) { try await client.chats.delete("c") }
            try await expect("/chat/user/add", #"{"id":"c","user_id":"u"}"#) {
                try await client.chats.addUser("c", "u")
            }
            try await expect("/chat/user/remove", #"{"id":"c","user_id":"u"}"#) {
                try await client.chats.removeUser("c", "u")
            }
            try await expect("/chat/prompt", #"{"context":0,"id":"c","otr":true,"prompt":"p"}"#) {
                _ = try await client.chats.prompt("c", "p", context: 0, otr: true)
            }
            try await expect("/chat/stop", #"{"id":"c","message_id":"m"}"#) {
                _ = try await client.chats.stop("c", "m")
            }
            try await expect("/group/create", #"{"name":"n"}"#) {
                _ = try await client.groups.create(name: "n")
            }
            try await expect("/group/read", "id=g&limit=1") {
                _ = try await client.groups.read("g", limit: 1)
            }
            try await expect("/group/update", #"{"description":"","id":"g","owner_id":"o"}"#) {
                _ = try await client.groups.update("g", description: "", ownerID: "o")
            }
            try await expect("/group/delete", #"{"id":"g"}"#) {
                try await client.groups.delete("g")
            }
            try await expect("/group/members", "id=g") { _ = try await client.groups.members("g") }
            try await expect("/group/members/add", #"{"id":"g","user_ids":["a","b"]}"#) {
                try await client.groups.addMembers("g", ["a", "b"])
            }
            try await expect("/group/members/remove", #"{"id":"g","user_ids":["a"]}"#) {
                try await client.groups.removeMembers("g", ["a"])
            }
        }
    }
}
