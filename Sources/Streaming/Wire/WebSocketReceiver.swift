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

    private enum Opcode: UInt8 {
        case continuation = 0x0
        case text = 0x1
        case binary = 0x2
        case close = 0x8
        case ping = 0x9
        case pong = 0xA

        var isControl: Bool { rawValue >= 0x8 }
    }

    private struct Payload {
        let opcode: Opcode
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
        guard head.count >= 2 else { return nil }
        // Broken ones are known by their first two bytes, and are not waited for any longer.
        guard head[0] & 0x70 == 0, let opcode = Opcode(rawValue: head[0] & 0x0F),
            head[1] & 0x80 != 0
        else { return .fail(.protocolError) }
        let isFinal = head[0] & 0x80 != 0
        let short = Int(head[1] & 0x7F)
        if opcode.isControl {
            guard isFinal, short <= 125 else { return .fail(.protocolError) }
        } else if (opcode == .continuation) != (message != nil) {
            return .fail(.protocolError)
        }
        let lengthBytes = short == 126 ? 2 : short == 127 ? 8 : 0
        guard head.count >= 2 + lengthBytes else { return nil }
        let length = head[2..<2 + lengthBytes].reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        // The shortest form is the only one, and the highest bit stays clear.
        if lengthBytes == 2 && length < 126 || lengthBytes == 8 && length <= 0xFFFF
            || length >> 63 != 0
        {
            return .fail(.protocolError)
        }
        let size = lengthBytes == 0 ? UInt64(short) : length
        if !opcode.isControl {
            guard size <= UInt64(Self.messageLimit - (message?.size ?? 0)) else {
                return .fail(.tooLarge)
            }
        }
        guard head.count == 2 + lengthBytes + 4 else { return nil }
        let mask = (
            head[2 + lengthBytes], head[3 + lengthBytes], head[4 + lengthBytes],
            head[5 + lengthBytes]
        )
        head.removeAll(keepingCapacity: false)
        begin(opcode, Int(size))
        payload = Payload(opcode: opcode, isFinal: isFinal, mask: mask, left: Int(size))
        return size == 0 ? endPayload() : nil
    }

    private mutating func begin(_ opcode: Opcode, _ size: Int) {
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

    private static func answer(to opcode: Opcode, _ payload: [UInt8]) -> Action? {
        switch opcode {
        case .ping: return .pong(payload)
        case .pong: return .isAlive
        case .close: break
        default: return nil
        }
        if payload.isEmpty { return .closed(nil) }
        guard payload.count >= 2 else { return .fail(.protocolError) }
        let code = UInt16(payload[0]) << 8 | UInt16(payload[1])
        guard isCode(code) else { return .fail(.protocolError) }
        var reason = UTF8Check()
        guard payload.dropFirst(2).allSatisfy({ reason.take($0) }), reason.isComplete else {
            return .fail(.notUTF8)
        }
        return .closed(WebSocketClose(code: code, reason: ""))
    }

    /// Whether a peer may send this code: those that are registered for it, and private ones.
    private static func isCode(_ code: UInt16) -> Bool {
        switch code {
        case 1000...1003, 1007...1014, 3000...4999: true
        default: false
        }
    }
}
