import NIOCore
import ProxyGPT
import Testing

@testable import Streaming

@Suite struct WritersTests {
    @Test("A server-sent event has the id, and the JSON on one line")
    func event() {
        let frame = delta("a\nb \"c\"", 7, prompt: "p")
        #expect(
            text(ServerSentEvents.event(frame)) == """
                id: e1-7
                data: {"message":{"id":"m1","chat_id":"chat-1","user_id":"user-1","prompt":"p",\
                "reply":"a\\nb \\"c\\"","state":"streaming"},"partial":true}


                """)
    }

    @Test("A reset is an event of that name")
    func reset() {
        let frame = Frame.reset(chat, id: id(3))
        #expect(
            text(ServerSentEvents.event(frame))
                == "event: reset\nid: e1-3\ndata: {\"reset\":true}\n\n")
        var bytes = WebSocketWriter.text(of: frame)
        bytes.moveReaderIndex(forwardBy: 2)
        #expect(text(bytes) == "{\"reset\":true}")
    }

    @Test("A WebSocket frame has the same JSON and the event's id")
    func webSocket() {
        var bytes = WebSocketWriter.text(of: delta("a", 7))
        #expect(bytes.readInteger(as: UInt8.self) == 0x81)
        bytes.moveReaderIndex(forwardBy: 3 - 2 + (bytes.readableBytes > 126 ? 2 : 0))
        #expect(
            text(bytes).hasSuffix(
                "\"reply\":\"a\",\"state\":\"streaming\"},\"partial\":true,\"event_id\":\"e1-7\"}"))
    }

    @Test("The length of a WebSocket frame takes the shortest form")
    func lengths() {
        for (count, head) in [(125, 2), (126, 4), (0xFFFF, 4), (0x10000, 10)] {
            let frame = WebSocketWriter.pong(Array(repeating: 0, count: count))
            #expect(frame.readableBytes == count + head)
        }
        #expect(
            Array(WebSocketWriter.close(.restart).readableBytesView.prefix(4))
                == [0x88, 9, 0x03, 0xF4])
        #expect(Array(WebSocketWriter.close(nil).readableBytesView) == [0x88, 0])
    }

    @Test("The last frame is the stored message")
    func last() {
        let frame = Frame.last(message("m1", reply: "all"), id: id(9))
        let json = String(decoding: frame.json, as: UTF8.self)
        #expect(json.hasPrefix("{\"message\":{\"id\":\"m1\""))
        #expect(json.contains("\"reply\":\"all\""))
        #expect(json.hasSuffix("\"partial\":false}"))
    }

    @Test(
        "Words of one message side by side become one frame, with the first's prompt and the last's id"
    )
    func gathers() {
        let frames = [
            delta("a", 1, prompt: "p"), delta("b", 2), delta("x", 3, of: "m2"), delta("c", 4),
        ].gathered()
        #expect(frames.map(\.id) == [id(2), id(3), id(4)])
        guard case .delta(let text, let prompt, _) = frames[0].content else {
            Issue.record("no words")
            return
        }
        #expect(text == "ab" && prompt == "p")
    }

    @Test("Gathered frames have a bound")
    func gathersUpToALimit() {
        let frames = (1...10).map { delta(String(repeating: "x", count: 60), $0) }
        #expect(frames.gathered(limit: 128).count == 5)
    }
}
