import Formats
@testable import Gateway
import HTTPAPI
import ProxyGPT
import Testing

@Suite(.timeLimit(.minutes(5))) struct ChatRoutesTests {
    private let stage: Stage
    private let token: String

    init() async throws {
        stage = try Stage(["DEFAULT_MODEL": "gpt-9"])
        token = try await stage.user()
    }

    private func create(_ body: String = "") async -> JSONValue? {
        await stage.post("/chat/create", body, token: token).json
    }

    @Test func `a chat without name and model has the defaults`() async {
        let chat = await create()
        #expect(chat?["name"]?.stringValue == "general")
        #expect(chat?["model"]?.stringValue == "gpt-9")
        if case .null? = chat?["group_id"] {} else { Issue.record("group_id is not null") }
    }

    @Test func `a chat is found by id and by chat_id, by GET and POST`() async throws {
        let id = try #require(await create("name=foobar")?["id"]?.stringValue)
        for writer in [
            await stage.get("/chat/read?id=\(id)", token: token),
            await stage.get("/chat/read?chat_id=\(id)", token: token),
            await stage.post("/chat/read", #"{"id":"\#(id)"}"#, token: token),
            await stage.post("/chat/read", "chat_id=\(id)", token: token),
        ] {
            #expect(writer.json?["chat"]?["name"]?.stringValue == "foobar")
            #expect(stage.events.closed.last?.chatID == id)
        }
    }

    @Test func `the context of a deleted chat is forgotten`() async throws {
        let id = try #require(await create()?["id"]?.stringValue)
        let window = ContextWindow(version: 1, newestFirst: [], limit: 10, budget: 8000)
        await stage.cache.keep(window, of: Chat.ID(id))
        #expect(await stage.post("/chat/delete", "id=other", token: token).status == 404)
        #expect(await stage.cache.window(of: Chat.ID(id)) == window)
        #expect(await stage.post("/chat/delete", "id=\(id)", token: token).status == 200)
        #expect(await stage.cache.window(of: Chat.ID(id)) == nil)
    }

    @Test func `an update leaves what is absent`() async throws {
        let id = try #require(await create("name=foobar&model=m")?["id"]?.stringValue)
        let writer = await stage.post("/chat/update", "id=\(id)&name=+other+", token: token)
        #expect(writer.json?["name"]?.stringValue == "other")
        #expect(writer.json?["model"]?.stringValue == "m")
    }

    @Test func `names and pages are checked and the parameter is named`() async {
        let long = String(repeating: "x", count: 201)
        for (path, body, parameter) in [
            ("/chat/create", "name=", "name"), ("/chat/create", "name=a%00b", "name"),
            ("/chat/create", "name=\(long)", "name"), ("/chat/create", "model=\(long)", "model"),
            ("/chat/index", "limit=0", "limit"), ("/chat/index", "limit=1001", "limit"),
            ("/chat/index", "before=a&after=b", "before"), ("/chat/index", "after=x", "after"),
            ("/chat/read", "", "id"), ("/chat/user/add", "id=x", "user_id"),
            ("/chat/stop", "id=x", "message_id"),
        ] {
            let writer = await stage.post(path, body, token: token)
            #expect(writer.status == 400, "\(path) \(body)")
            #expect(writer.json?["error"]?["param"]?.stringValue == parameter, "\(path) \(body)")
        }
    }

    @Test func `what is not there is not found, whatever is wanted of it`() async {
        for (path, body) in [
            ("read", ""), ("update", ""), ("delete", ""), ("prompt", "&prompt=x"),
            ("stop", "&message_id=x"), ("user/add", "&user_id=x"), ("user/remove", "&user_id=x"),
        ] {
            for id in ["none", "017f22e2-79b0-7cc3-98c4-dc0c0c07398f"] {
                let writer = await stage.post("/chat/" + path, "id=\(id)" + body, token: token)
                #expect(writer.errorCode == "not_found", "\(path)")
            }
        }
    }
}

@Suite(.timeLimit(.minutes(5))) struct GroupRoutesTests {
    private let stage: Stage
    private let token: String

    init() async throws {
        stage = try Stage()
        token = try await stage.user()
    }

    private func create(_ body: String) async -> RecordingWriter {
        await stage.post("/group/create", body, token: token)
    }

    @Test func `a group shows its fields on top and beside its members`() async throws {
        let id = try #require(
            await create("name=foobar&description=my+awesome+group").json?["id"]?.stringValue)
        let read = try #require(await stage.get("/group/read?group_id=\(id)", token: token).json)
        for view in [read, try #require(read["group"])] {
            #expect(view["name"]?.stringValue == "foobar")
            #expect(view["description"]?.stringValue == "my awesome group")
        }
        guard case .array(let members)? = read["members"] else {
            Issue.record("no members")
            return
        }
        #expect(members.map { $0["username"]?.stringValue } == ["asim"])
    }

    @Test func `members come as a repeated field, with commas, or as an array`() async throws {
        let names = ["one", "two", "three"]
        for name in names { _ = try await stage.user(name) }
        for body in [
            "user_ids=one&user_ids=two&user_ids=three", "user_ids=one,two,+three",
            #"{"user_ids":["one","two","three"]}"#,
        ] {
            let id = try #require(await create("name=g").json?["id"]?.stringValue)
            let added = await stage.post(
                "/group/members/add?id=\(id)", body, token: token)
            #expect(added.status == 200 && added.text == "{}", "\(body)")
            let members = await stage.get("/group/members?id=\(id)", token: token)
            guard case .array(let users)? = members.json?["users"] else { continue }
            #expect(users.count == 4, "\(body)")
        }
    }

    @Test func `names and descriptions are checked and the parameter is named`() async {
        let name = String(repeating: "n", count: 121)
        let description = String(repeating: "d", count: 2001)
        for (body, parameter) in [
            ("", "name"), ("name=", "name"), ("name=\(name)", "name"),
            ("name=x&description=\(description)", "description"),
        ] {
            let writer = await create(body)
            #expect(writer.json?["error"]?["param"]?.stringValue == parameter)
        }
        for path in ["add", "remove"] {
            let writer = await stage.post("/group/members/\(path)", "id=x", token: token)
            #expect(writer.json?["error"]?["param"]?.stringValue == "user_ids")
        }
    }
}
