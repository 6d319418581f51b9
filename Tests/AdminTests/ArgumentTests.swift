internal import ArgumentParser
import Formats
internal import ProxyGPT
internal import Testing

@testable internal import Admin

@Suite struct ArgumentTests {
    @Test(arguments: [
        ("2026-01-31", "2026-01-31T00:00:00.000Z"),
        ("2024-02-29T23:59:59Z", "2024-02-29T23:59:59.000Z"),
        ("2026-11-24T11:46:02.353Z", "2026-11-24T11:46:02.353Z"),
        ("2026-11-24 11:46:02.3", "2026-11-24T11:46:02.300Z"),
        ("1999-12-31T00:01", "1999-12-31T00:01:00.000Z"),
        ("1970-01-01", "1970-01-01T00:00:00.000Z"),
    ])
    func `times are read as they are written`(text: String, moment: String) {
        let time = TimeArgument(argument: text)?.timestamp(now: Timestamp(milliseconds: 0))
        #expect(time?.description == moment)
    }

    @Test(arguments: [("90s", 90), ("30m", 1800), ("2h", 7200), ("7d", 604_800)])
    func `times may say how long ago`(text: String, seconds: Int64) {
        #expect(TimeArgument(argument: text) == .secondsAgo(seconds))
        #expect(TimeArgument.secondsAgo(2_592_000).defaultValueDescription == "30d")
    }

    @Test(arguments: [
        "", "yesterday", "2026-13-01", "2026-02-29", "2026-01-00", "-1d", "5w",
        "2026-01-01T25:00", "99999999999d", "٣d", "+1d", "1_0d", "0x1d",
        "٢٠٢٦-01-01", "2026-01-01T٠٥:00",
    ])
    func `what is no time is refused`(text: String) {
        #expect(TimeArgument(argument: text) == nil)
    }

    @Test func `a status is one or a hundred`() {
        #expect(StatusArgument(argument: "404")?.range == 404...404)
        #expect(StatusArgument(argument: "5xx")?.range == 500...599)
        for text in ["", "4", "xxx", "0xx", "4x4", "40404", "-12"] {
            #expect(StatusArgument(argument: text) == nil, "\(text)")
        }
    }

    @Test func `every command answers in JSON on request`() throws {
        for arguments in [
            ["list"], ["user", "a"], ["reset", "a", "b"], ["create", "a"], ["disable", "a"],
            ["enable", "a"], ["delete", "a"], ["sessions", "list"], ["sessions", "revoke", "a"],
            ["chats"], ["messages", "a"], ["events"], ["usage"], ["config"], ["doctor"],
            ["backup", "a"], ["restore", "a"],
        ] {
            let command = try AdminProgram.parseAsRoot(arguments + ["--json"])
            #expect((command as? any AdminCommand)?.output.json == true, "\(arguments)")
        }
    }

    @Test func `wrong usage is shownStage from failure`() {
        for arguments in [
            ["nonsense"], ["user"], ["chats", "--limit", "0"], ["chats", "--limit", "+5"],
            ["events", "--limit", "0x10"],
            ["messages", "a", "--limit", "٥"], ["sessions", "revoke"],
            ["events", "--since", "x"], ["events", "--follow", "--until", "1d"],
            ["create", "a", "--role", "king"], ["usage", "--by", "moon"],
        ] {
            do {
                _ = try AdminProgram.parseAsRoot(arguments)
                Issue.record("accepted: \(arguments)")
            } catch {
                #expect(AdminProgram.exitCode(for: error).rawValue == 64, "\(arguments)")
            }
        }
    }
}

@Suite struct RecordTests {
    private func event(_ path: String, _ status: Int64?, _ kind: String = "request") -> EventRecord
    {
        var event = EventRecord()
        event.path = path
        event.status = status
        event.kind = kind
        event.userID = "u"
        return event
    }

    @Test func `what is followed is filtered as what is read`() {
        var filter = EventScan.Filter()
        #expect(filter.matches(event("/v1/models", nil)))
        filter.pathPrefix = "/v1/"
        filter.statuses = 500...599
        #expect(filter.matches(event("/v1/models", 502)))
        #expect(!filter.matches(event("/v1/models", 404)))
        #expect(!filter.matches(event("/v1/models", nil)))
        #expect(!filter.matches(event("/user/read", 502)))
        filter.user = User.ID("other")
        #expect(!filter.matches(event("/v1/models", 502)))
        filter.user = User.ID("u")
        filter.kind = "forward"
        #expect(!filter.matches(event("/v1/models", 502)))
        #expect(filter.matches(event("/v1/models", 502, "forward")))
    }

    @Test func `an event has as many texts as fields`() {
        #expect(event("/", 200).texts.count == EventRecord.fields.count)
    }

    @Test func `use is added up by what is asked for`() throws {
        let key = UsageKey(userID: "u", model: "m", day: 3)
        let byUser = try #require(
            try AdminProgram.parseAsRoot(["usage", "--by", "user"]) as? ShowUsage)
        #expect(byUser.reduced(key) == UsageKey(userID: "u", model: nil, day: nil))
        let byAll = try #require(try AdminProgram.parseAsRoot(["usage"]) as? ShowUsage)
        #expect(byAll.reduced(key) == key)
        let byTwo = try #require(
            try AdminProgram.parseAsRoot(["usage", "--by", "day", "model"]) as? ShowUsage)
        #expect(byTwo.reduced(key) == UsageKey(userID: nil, model: "m", day: 3))
    }

    @Test func `off-the-record text is shown on request alone`() {
        let time = Timestamp(milliseconds: 0)
        let message = Message(
            id: Message.ID("m"), chatID: Chat.ID("c"), userID: User.ID("u"), groupID: nil, seq: 1,
            prompt: "secret", model: "m", isOffRecord: true, state: .done, createdAt: time,
            updatedAt: time)
        #expect(message.json(showsAll: false)["prompt"]?.stringValue == nil)
        #expect(message.json(showsAll: true)["prompt"]?.stringValue == "secret")
    }
}
