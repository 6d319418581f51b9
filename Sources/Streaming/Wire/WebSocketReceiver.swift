// A client's side of a WebSocket, from bytes to what has to be done about them (RFC 6455, section 5).
//
// A value without I/O. Data messages are checked and let go byte by byte, never held: this server
// has no use for them. Only the payload of a control frame is kept until it is whole.

/// Reads what the client of a WebSocket sends.
struct WebSocketReceiver {
    enum Action: Equatable {
        case pong([UInt8])
        /// The peer answers a ping: it lives.
        case isAlive
        /// The peer closes, and is answered in kind.
        case closed(WebSocketClose?)
        /// The peer broke the protocol.
        case fail(WebSocketClose)
    }

    /// The largest message, in bytes.
    static let messageLimit = 64 * 1024

    private struct Payload {
        let opcode: FrameHead.Opcode
        let isFinal: Bool
        let mask: (UInt8, UInt8, UInt8, UInt8)
        var left: Int
        var position = 0

        mutating func unmask(_ byte: UInt8) -> UInt8 {
            let key =
                switch position & 3 {
                case 0: mask.0
                case 1: mask.1
                case 2: mask.2
                default: mask.3
                }
            position &+= 1
            left -= 1
            return byte ^ key
        }
    }

    /// A data message that has begun and not ended.
    private struct Message {
        var text: UTF8Check?
        var size = 0
    }

    private var head: [UInt8] = []
    private var payload: Payload?
    private var control: [UInt8] = []
    private var message: Message?
    private var isOver = false

    /// Takes bytes as they come, in whatever pieces. Nothing matters any more after a `closed` or
    /// `fail`.
    mutating func receive(_ bytes: some Sequence<UInt8>) -> [Action] {
        var actions: [Action] = []
        for byte in bytes {
            if isOver { break }
            if let action = receive(byte) { actions.append(action) }
        }
        return actions
    }

    private mutating func receive(_ byte: UInt8) -> Action? {
        let action: Action?
        if payload == nil {
            head.append(byte)
            action = readHead()
        } else {
            action = readPayload(byte)
        }
        switch action {
        case .closed, .fail: isOver = true
        default: break
        }
        return action
    }

    // MARK: - The head

    private mutating func readHead() -> Action? {
        guard FrameHead.isWorthReading(head) else { return nil }
        let room = Self.messageLimit - (message?.size ?? 0)
        switch FrameHead.read(head, isMasked: true, continues: message != nil, sizeLimit: room) {
        case .incomplete: return nil
        case .broken(let close): return .fail(close)
        case .head(let frame):
            head.removeAll(keepingCapacity: false)
            begin(frame.opcode, frame.size)
            let mask = (frame.mask[0], frame.mask[1], frame.mask[2], frame.mask[3])
            payload = Payload(
                opcode: frame.opcode, isFinal: frame.isFinal, mask: mask, left: frame.size)
            return frame.size == 0 ? endPayload() : nil
        }
    }

    private mutating func begin(_ opcode: FrameHead.Opcode, _ size: Int) {
        switch opcode {
        case .text: message = Message(text: UTF8Check())
        case .binary: message = Message(text: nil)
        default: break
        }
        if !opcode.isControl { message?.size += size }
    }

    // MARK: - The payload

    private mutating func readPayload(_ masked: UInt8) -> Action? {
        guard let byte = payload?.unmask(masked), let payload else { return nil }
        if payload.opcode.isControl {
            control.append(byte)
        } else if message?.text?.take(byte) == false {
            return .fail(.notUTF8)
        }
        return payload.left == 0 ? endPayload() : nil
    }

    private mutating func endPayload() -> Action? {
        guard let ended = payload else { return nil }
        payload = nil
        if ended.opcode.isControl {
            defer { control = [] }
            return Self.answer(to: ended.opcode, control)
        }
        guard ended.isFinal else { return nil }
        defer { message = nil }
        return message?.text?.isComplete == false ? .fail(.notUTF8) : nil
    }

    private static func answer(to opcode: FrameHead.Opcode, _ payload: [UInt8]) -> Action? {
        switch opcode {
        case .ping: return .pong(payload)
        case .pong: return .isAlive
        case .close: break
        default: return nil
        }
        do throws(WebSocketClose.Broken) {
            // The peer's own reason is not sent back.
            let close = try WebSocketClose.read(payload)
            return .closed(close.map { WebSocketClose(code: $0.code, reason: "") })
        } catch {
            return .fail(error.close)
        }
    }
}
