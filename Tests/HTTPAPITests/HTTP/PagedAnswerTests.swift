import Formats
@testable import Gateway
import ProxyGPT
import Synchronization
import Testing

@testable import HTTPAPI

@Suite struct PagedAnswerTests {
    /// Counts the turns that were given back.
    private final class Turns: Sendable {
        let count = Atomic(0)
        func pause() async { count.add(1, ordering: .relaxed) }
    }

    private func message(_ reply: String) -> Message {
        Message(
            id: Message.ID("m"), chatID: Chat.ID("c"), userID: User.ID("u"), groupID: nil, seq: 1,
            prompt: "say \"x\"\n", reply: reply, model: "m", state: .done,
            createdAt: Timestamp(milliseconds: 0), updatedAt: Timestamp(milliseconds: 0))
    }

    @Test("A page is written as the same JSON as a whole value")
    func writesTheSame() async {
        let messages = [message("a"), message(String(repeating: "é\\\u{1}", count: 40_000))]
        var answer = PagedAnswer(pause: {})
        await answer.add("first", .null)
        await answer.add("messages", Listing(elements: messages, hasMore: true), \.view)
        let whole: JSONValue = [
            "first": .null, "messages": .array(messages.map(\.view)), "has_more": true,
        ]
        #expect(answer.response().body == whole.encoded)
        #expect(PagedAnswer(pause: {}).response().body == Array("{}".utf8))
    }

    @Test("A reply of four megabytes is answered in turns of 64 KiB, as the same JSON")
    func answersAPromptInTurns() async {
        for reply in ["a", String(repeating: "é\n", count: 1_398_101)] {
            let (turns, message) = (Turns(), message(reply))
            let answer = await Response(message, pause: turns.pause)
            let whole: JSONValue = ["message": message.view, "reply": .string(reply)]
            #expect(answer.body == whole.encoded)
            #expect(answer.headers == Response(json: whole).headers)
            let count = turns.count.load(ordering: .relaxed)
            #expect(count >= (2 * reply.utf8.count) / (JSONValue.PacedWriter.pace + 6000))
        }
    }

    @Test("Five megabytes are written in turns of 64 KiB, one long text too")
    func givesTurnsBack() async {
        let size = 5_200_000
        for replies in [
            Array(repeating: String(repeating: "x", count: 5200), count: 1000),
            [String(repeating: "x", count: size)],
        ] {
            let turns = Turns()
            var answer = PagedAnswer(capacity: size, pause: turns.pause)
            await answer.add(
                "messages", Listing(elements: replies.map(message), hasMore: false), \.view)
            let pace = JSONValue.PacedWriter.pace
            let count = turns.count.load(ordering: .relaxed)
            // A turn ends behind the element or piece with which it is full.
            #expect(count >= size / (pace + 6000) && count <= size * 2 / pace)
            #expect(answer.response().body.count > size)
        }
    }
}
