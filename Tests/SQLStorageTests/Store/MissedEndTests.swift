internal import ProxyGPT
internal import TestSupport
internal import Testing

@testable internal import SQLStorage

@Suite struct MissedEndTests {
    @Test(arguments: Engine.allCases)
    func `ends are returned with their chats until they are forgotten`(
        on engine: Engine
    ) async throws {
        let clock = TestClock()
        try await Place(engine).with(clock: clock) { storage in
            let store = storage.store
            let user = try await storage.addUser("asim").user
            let chat = makeChat(of: user.id)
            try await store.create(chat)
            func write(_ state: Message.State) async throws -> Message.ID {
                let message = NewMessage(
                    id: Message.ID(ids.next()), chatID: chat.id, userID: user.id, prompt: "p",
                    isOffRecord: false, state: state, idempotencyKey: nil, createdAt: clock.now())
                _ = try await store.begin(message, limit: 8, model: { $0 })
                return message.id
            }
            let (ended, running) = (try await write(.done), try await write(.pending))
            #expect(try await store.missedEnds(now: clock.now()).ids.isEmpty)
            let unknown = Message.ID(ids.next())
            try await store.note(missedEnds: [ended, running, unknown], now: clock.now())
            try await store.note(missedEnds: [ended], now: clock.now().adding(seconds: 9))
            clock.advance(seconds: 60)
            var missed = try await store.missedEnds(now: clock.now())
            #expect(Set(missed.ids) == [ended, running])
            #expect(
                missed.frames == [
                    StreamFrame(chatID: chat.id, messageID: ended, userID: user.id, .ended)
                ])
            #expect(missed.age == 60_000 && !missed.demandNewEpoch)
            clock.advance(seconds: 541)
            #expect(try await store.missedEnds(now: clock.now()).demandNewEpoch)
            try await store.forget(missedEnds: [ended])
            missed = try await store.missedEnds(now: clock.now())
            #expect(missed.ids == [running] && missed.frames.isEmpty)
        }
    }

    @Test(arguments: Engine.allCases)
    func `no more ends are noted than are returned one by one`(on engine: Engine) async throws {
        try await Place(engine).with { storage in
            let user = try await storage.addUser("asim").user
            let chat = makeChat(of: user.id)
            try await storage.store.create(chat)
            try await storage.addMessages(MissedEnds.limit + 300, to: chat, of: user.id)
            let all = try await storage.database.query("SELECT id FROM messages").map {
                let id: Message.ID = try $0.id("id")
                return id
            }
            for start in stride(from: 0, to: all.count, by: 100) {
                try await storage.store.note(
                    missedEnds: Array(all[start..<min(start + 100, all.count)]), now: now)
            }
            let missed = try await storage.store.missedEnds(now: now)
            #expect(missed.ids.count == MissedEnds.limit && missed.demandNewEpoch)
        }
    }
}
