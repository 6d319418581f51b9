internal import NIOCore

/// The head of a WebSocket frame (RFC 6455, section 5.2).
struct FrameHead: Equatable {
    enum Opcode: UInt8 {
        case continuation = 0x0
        case text = 0x1
        case binary = 0x2
        case close = 0x8
        case ping = 0x9
        case pong = 0xA

        var isControl: Bool { rawValue >= 0x8 }
    }

    /// The largest frame that is passed on, in bytes.
    static let sizeLimit = 16 * 1024 * 1024

    var isFinal: Bool
    var opcode: Opcode
    var size: Int
    /// Four bytes, or none for a frame that is not masked.
    var mask: [UInt8]

    /// What the bytes of a head are so far.
    enum Reading: Equatable {
        case incomplete
        case head(FrameHead)
        case broken(WebSocketClose)
    }

    /// Whether reading these bytes can find more than reading one byte fewer: two bytes show whether the head
    /// can be valid, the last one completes it.
    static func isWorthReading(_ bytes: [UInt8]) -> Bool {
        guard bytes.count > 2 else { return bytes.count == 2 }
        let short = bytes[1] & 0x7F
        let lengthBytes = short == 126 ? 2 : short == 127 ? 8 : 0
        // A length is judged before the mask behind it is there.
        return bytes.count == 2 + lengthBytes
            || bytes.count == 2 + lengthBytes + (bytes[1] & 0x80 == 0 ? 0 : 4)
    }

    /// Reads a head as soon as it is whole, and knows a broken one by its first two bytes.
    /// - Parameters:
    ///   - isMasked: whether the peer must mask its frames.
    ///   - continues: whether a message has begun, so that its next fragment must come: fragments do not mix.
    ///   - sizeLimit: the largest payload of a data frame, in bytes.
    static func read(
        _ bytes: [UInt8], isMasked: Bool, continues: Bool, sizeLimit: Int = sizeLimit
    ) -> Reading {
        guard bytes.count >= 2 else { return .incomplete }
        guard bytes[0] & 0x70 == 0, let opcode = Opcode(rawValue: bytes[0] & 0x0F),
            (bytes[1] & 0x80 != 0) == isMasked
        else { return .broken(.protocolError) }
        let isFinal = bytes[0] & 0x80 != 0
        let short = Int(bytes[1] & 0x7F)
        let isAllowed =
            opcode.isControl ? isFinal && short <= 125 : (opcode == .continuation) == continues
        guard isAllowed else { return .broken(.protocolError) }
        let lengthBytes = short == 126 ? 2 : short == 127 ? 8 : 0
        guard bytes.count >= 2 + lengthBytes else { return .incomplete }
        let long = bytes[2..<2 + lengthBytes].reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        // The shortest form is the only one, and the highest bit stays clear.
        if lengthBytes == 2 && long < 126 || lengthBytes == 8 && long <= 0xFFFF || long >> 63 != 0 {
            return .broken(.protocolError)
        }
        let size = lengthBytes == 0 ? UInt64(short) : long
        guard opcode.isControl || size <= UInt64(max(0, sizeLimit)) else {
            return .broken(.tooLarge)
        }
        let end = 2 + lengthBytes + (isMasked ? 4 : 0)
        guard bytes.count >= end else { return .incomplete }
        return .head(
            FrameHead(
                isFinal: isFinal, opcode: opcode, size: Int(size),
                mask: Array(bytes[2 + lengthBytes..<end])))
    }

    /// The head as it goes on the wire.
    var bytes: [UInt8] {
        var bytes: [UInt8] = [(isFinal ? 0x80 : 0) | opcode.rawValue]
        let maskBit: UInt8 = mask.isEmpty ? 0 : 0x80
        switch size {
        case ..<126: bytes.append(maskBit | UInt8(size))
        case ...0xFFFF:
            bytes.append(maskBit | 126)
            bytes.append(contentsOf: Self.bigEndian(size, count: 2))
        default:
            bytes.append(maskBit | 127)
            bytes.append(contentsOf: Self.bigEndian(size, count: 8))
        }
        return bytes + mask
    }

    private static func bigEndian(_ number: Int, count: Int) -> [UInt8] {
        (0..<count).map { UInt8(truncatingIfNeeded: number >> (8 * (count - 1 - $0))) }
    }

    /// Masks or unmasks a piece of the payload that begins at `position`.
    static func apply(_ mask: [UInt8], to bytes: inout [UInt8], at position: Int) {
        guard mask.count == 4 else { return }
        let turned = (0..<4).map { mask[(position + $0) & 3] }
        bytes.withUnsafeMutableBufferPointer { bytes in
            turned.withUnsafeBufferPointer { mask in
                for index in bytes.indices { bytes[index] ^= mask[index & 3] }
            }
        }
    }
}

extension WebSocketClose {
    /// What the payload of a close frame says; nil where it says nothing.
    /// - Throws: how to answer a payload that is none (RFC 6455, sections 5.5.1 and 7.4).
    static func read(_ payload: [UInt8]) throws(WebSocketClose.Broken) -> WebSocketClose? {
        if payload.isEmpty { return nil }
        guard payload.count >= 2 else { throw Broken(close: .protocolError) }
        let code = UInt16(payload[0]) << 8 | UInt16(payload[1])
        guard canBeSent(code) else { throw Broken(close: .protocolError) }
        guard let reason = String(validating: payload.dropFirst(2), as: UTF8.self) else {
            throw Broken(close: .notUTF8)
        }
        return WebSocketClose(code: code, reason: reason)
    }

    struct Broken: Error, Equatable {
        let close: WebSocketClose
    }

    /// The payload of a close frame.
    var payload: [UInt8] {
        [UInt8(code >> 8), UInt8(code & 0xFF)] + Array(reason.utf8.prefix(123))
    }

    /// Codes that are registered for it, and private ones: 1005, 1006 and 1015 never travel.
    private static func canBeSent(_ code: UInt16) -> Bool {
        switch code {
        case 1000...1003, 1007...1014, 3000...4999: true
        default: false
        }
    }
}
