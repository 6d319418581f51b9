import Formats
@testable import Gateway
import ProxyGPT
import SQLStorage
import Testing

@testable import HTTPAPI

@Suite(.timeLimit(.minutes(5))) struct DoubtfulPromptTests {
    @Test func `a prompt that was stored although it was refused does not wait for ever`()
        async throws
    {
        let stage = try Stage()
        let token = try await stage.user()
        let created = await stage.post("/chat/create", "name=chat", token: token)
        let chat = try #require(created.json?["id"]?.stringValue)
        let owner = try #require(created.json?["user_id"]?.stringValue)
        let runner = stage.api.prompts
        let id = Message.ID("00000000-0000-7000-8000-000000000001")
        runner.noteDoubtful(id)
        await runner.storeUnwritten()
        #expect(stage.bus.frames.isEmpty, "there is none yet")
        // The server commits late.
        let new = NewMessage(
            id: id, chatID: Chat.ID(chat), userID: User.ID(owner), prompt: "p", isOffRecord: false,
            state: .pending, idempotencyKey: nil, createdAt: stage.clock.now())
        _ = try await stage.storage.store.begin(new, limit: 8, model: { $0 })
        await runner.storeUnwritten()
        let stored = try await stage.storage.store.message(id, in: Chat.ID(chat))
        #expect(stored?.state == .failed && stored?.failure?.code == .unavailable)
        #expect(stored?.failure?.mayBeRepeated == true, "nobody has asked the upstream")
        #expect(stage.bus.frames.map(\.content) == [.ended])
        for _ in 0..<60 { await runner.storeUnwritten() }
        #expect(stage.bus.frames.count == 1, "it is told once")
    }
}
