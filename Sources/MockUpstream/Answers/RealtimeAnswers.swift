import Credentials
import Formats
import NIOCore
import NIOHTTP1

/// The server's part of a WebSocket's handshake, and the behaviour after it.
struct SocketOpening {
    let accept: String
    let subprotocol: String?
    let behaviour: SocketBehaviour
    /// Answers the messages; without it they are echoed.
    var responses: ResponseSocket?

    /// The whole head of the answer.
    func head(_ standardLines: [UInt8], requestID: String) -> ByteBuffer {
        var head = ByteBuffer(
            string: "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                + "Connection: Upgrade\r\nSec-WebSocket-Accept: \(accept)\r\n")
        if let subprotocol { head.writeString("Sec-WebSocket-Protocol: \(subprotocol)\r\n") }
        head.writeBytes(standardLines)
        head.writeString("x-request-id: \(requestID)\r\n\r\n")
        return head
    }
}

/// Answers to WebSocket handshakes.
enum RealtimeAnswers {
    static func answer(to call: Call) throws(Refusal) -> Answer {
        guard call.header("upgrade")?.lowercased() == "websocket",
            call.header("sec-websocket-version") == "13",
            let key = call.header("sec-websocket-key"), let accept = WebSocketKey.answer(to: key)
        else {
            throw Refusal(status: 400, message: "This endpoint wants a WebSocket")
        }
        let behaviour: SocketBehaviour
        do throws(Behaviour.BadOption) {
            behaviour = try SocketBehaviour(call.target.query)
        } catch {
            throw Refusal(
                status: 400, message: "mock-upstream: bad value for \(error.name)",
                parameter: error.name, code: "bad_mock_option")
        }
        let offered = call.headers[canonicalForm: "sec-websocket-protocol"].first
        let subprotocol = behaviour.subprotocol ?? offered.map(String.init)
        var answer = Answer([:])
        answer.socket = SocketOpening(
            accept: behaviour.hasWrongAccept ? key : accept,
            subprotocol: subprotocol?.isEmpty == true ? nil : subprotocol, behaviour: behaviour)
        return answer
    }
}
