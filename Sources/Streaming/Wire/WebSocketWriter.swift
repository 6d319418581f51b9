internal import NIOCore
internal import ProxyGPT

/// Why a WebSocket is closed (RFC 6455, section 7.4.1, and the IANA registry).
struct WebSocketClose: Equatable, Sendable {
    let code: UInt16
    let reason: String

    static let done = WebSocketClose(code: 1000, reason: "")
    static let protocolError = WebSocketClose(code: 1002, reason: "protocol error")
    static let notUTF8 = WebSocketClose(code: 1007, reason: "text is not UTF-8")
    static let notAllowed = WebSocketClose(code: 1008, reason: "no longer allowed")
    static let slow = WebSocketClose(code: 1008, reason: "read too slowly")
    static let tooLarge = WebSocketClose(code: 1009, reason: "message too large")
    static let restart = WebSocketClose(code: 1012, reason: "restart")
    static let overload = WebSocketClose(code: 1013, reason: "try again later")
}

/// Writes a server's WebSocket frames (RFC 6455, section 5.2): whole and unmasked.
enum WebSocketWriter {
    private enum Opcode: UInt8 {
        case text = 0x1
        case close = 0x8
        case ping = 0x9
        case pong = 0xA
    }

    static func text(of frame: Frame) -> ByteBuffer {
        var json = frame.json
        if case .reset = frame.content { return whole(.text, json) }
        json.removeLast()
        json.append(contentsOf: ",\"event_id\":\"\(frame.id)\"}".utf8)
        return whole(.text, json)
    }

    static func ping() -> ByteBuffer { whole(.ping, []) }

    static func pong(_ payload: [UInt8]) -> ByteBuffer { whole(.pong, payload) }

    /// Without a code where the peer gave none.
    static func close(_ close: WebSocketClose?) -> ByteBuffer {
        guard let close else { return whole(.close, []) }
        let code = [UInt8(close.code >> 8), UInt8(close.code & 0xFF)]
        return whole(.close, code + close.reason.utf8.prefix(123))
    }

    private static func whole(_ opcode: Opcode, _ payload: [UInt8]) -> ByteBuffer {
        var buffer = ByteBuffer()
        buffer.reserveCapacity(payload.count + 10)
        buffer.writeInteger(0x80 | opcode.rawValue)
        switch payload.count {
        case ..<126: buffer.writeInteger(UInt8(payload.count))
        case ...0xFFFF:
            buffer.writeInteger(UInt8(126))
            buffer.writeInteger(UInt16(payload.count))
        default:
            buffer.writeInteger(UInt8(127))
            buffer.writeInteger(UInt64(payload.count))
        }
        buffer.writeBytes(payload)
        return buffer
    }
}
