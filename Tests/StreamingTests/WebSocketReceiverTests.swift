import Testing

@testable import Streaming

@Suite struct WebSocketReceiverTests {
    /// A client's frame, masked.
    private func frame(
        _ opcode: UInt8, _ payload: [UInt8] = [], isFinal: Bool = true, reserved: UInt8 = 0,
        isMasked: Bool = true
    ) -> [UInt8] {
        let mask: [UInt8] = [0x37, 0xFA, 0x21, 0x3D]
        var bytes = [(isFinal ? 0x80 : 0) | reserved << 4 | opcode]
        let bit: UInt8 = isMasked ? 0x80 : 0
        switch payload.count {
        case ..<126: bytes.append(bit | UInt8(payload.count))
        case ...0xFFFF:
            bytes += [bit | 126, UInt8(payload.count >> 8), UInt8(payload.count & 0xFF)]
        default:
            bytes.append(bit | 127)
            bytes += (0..<8).map { UInt8(truncatingIfNeeded: payload.count >> (56 - 8 * $0)) }
        }
        if isMasked { bytes += mask }
        return bytes
            + (isMasked ? payload.enumerated().map { $1 ^ mask[$0 & 3] } : payload)
    }

    private func actions(_ bytes: [UInt8]) -> [WebSocketReceiver.Action] {
        var receiver = WebSocketReceiver()
        let whole = receiver.receive(bytes)
        // In any pieces it must come to the same.
        for size in [1, 2, 3, 7] {
            var receiver = WebSocketReceiver()
            var found: [WebSocketReceiver.Action] = []
            var rest = bytes[...]
            while !rest.isEmpty {
                found += receiver.receive(rest.prefix(size))
                rest = rest.dropFirst(size)
            }
            #expect(found == whole, "in pieces of \(size)")
        }
        return whole
    }

    private let broken = [WebSocketReceiver.Action.fail(.protocolError)]

    @Test(
        "Messages of any size and form are let go in silence",
        arguments: [0, 1, 125, 126, 127, 65_535, 65_536])
    func messages(size: Int) {
        let payload = Array(repeating: UInt8(ascii: "a"), count: size)
        #expect(actions(frame(1, payload)) == [])
        #expect(actions(frame(2, payload)) == [])
    }

    @Test("What is larger than a message may be is refused by its length")
    func tooLarge() {
        #expect(actions(frame(2, Array(repeating: 0, count: 65_537))) == [.fail(.tooLarge)])
        let half = Array(repeating: UInt8(0), count: 40_000)
        #expect(actions(frame(2, half, isFinal: false) + frame(0, half)) == [.fail(.tooLarge)])
        // The length alone decides; 2^62 bytes are not waited for.
        #expect(actions([0x82, 0xFF, 0x40, 0, 0, 0, 0, 0, 0, 0]) == [.fail(.tooLarge)])
    }

    @Test("A ping is answered with its payload, between fragments too")
    func pings() {
        #expect(actions(frame(9)) == [.pong([])])
        #expect(actions(frame(9, [0, 255, 1])) == [.pong([0, 255, 1])])
        let long = Array(repeating: UInt8(0xFE), count: 125)
        #expect(
            actions(frame(1, [0x61], isFinal: false) + frame(9, long) + frame(0, [0x62]))
                == [.pong(long)])
        #expect(actions(frame(10, [1])) == [.isAlive])
    }

    @Test("Control frames are whole and short")
    func controls() {
        for opcode: UInt8 in [8, 9, 10] {
            #expect(actions(frame(opcode, isFinal: false)) == broken)
            #expect(actions(frame(opcode, Array(repeating: 0, count: 126))) == broken)
        }
    }

    @Test("Reserved bits and opcodes break the protocol")
    func reserved() {
        for bits: UInt8 in 1...7 { #expect(actions(frame(1, reserved: bits)) == broken) }
        for opcode: UInt8 in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
            #expect(actions(frame(opcode)) == broken)
        }
    }

    @Test("A client masks")
    func masks() {
        #expect(actions(frame(1, [0x61], isMasked: false)) == broken)
    }

    @Test("A length takes its shortest form and leaves the highest bit clear")
    func lengthForms() {
        #expect(actions([0x82, 0xFE, 0, 125]) == broken)
        #expect(actions([0x82, 0xFF, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF]) == broken)
        #expect(actions([0x82, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 0]) == broken)
    }

    @Test("Fragments follow a beginning, and a message ends before the next begins")
    func fragments() {
        #expect(actions(frame(0, [0x61])) == broken)
        #expect(actions(frame(0, [0x61], isFinal: false)) == broken)
        #expect(actions(frame(1, isFinal: false) + frame(1)) == broken)
        #expect(actions(frame(1, isFinal: false) + frame(2)) == broken)
        #expect(actions(frame(1, isFinal: false) + frame(0) + frame(0)) == broken)
        #expect(actions(frame(1, isFinal: false) + frame(0, isFinal: false) + frame(0)) == [])
    }

    @Test("Text is UTF-8, wherever it is split")
    func utf8() {
        let good = Array("κόσμε 𝄞 \u{FFFF} \u{10FFFF} \u{D7FF}\u{E000}".utf8)
        for split in 0...good.count {
            let frames =
                frame(1, Array(good[..<split]), isFinal: false) + frame(0, Array(good[split...]))
            #expect(actions(frames) == [], "split at \(split)")
        }
        for bad: [UInt8] in [
            [0x80], [0xC0, 0x80], [0xC1, 0xBF], [0xE0, 0x80, 0x80], [0xE0, 0x9F, 0xBF],
            [0xED, 0xA0, 0x80], [0xED, 0xBF, 0xBF], [0xF0, 0x80, 0x80, 0x80],
            [0xF0, 0x8F, 0xBF, 0xBF], [0xF4, 0x90, 0x80, 0x80], [0xF5, 0x80, 0x80, 0x80], [0xFF],
            [0xC2], [0xE2, 0x82], [0xF0, 0x9D, 0x84],
            [0xC2, 0x41], [0xE2, 0x82, 0x41], [0xF0, 0x9D, 0x84, 0x41],
        ] {
            #expect(actions(frame(1, bad)) == [.fail(.notUTF8)], "\(bad)")
            #expect(
                actions(frame(1, [0x61], isFinal: false) + frame(0, bad)) == [.fail(.notUTF8)])
        }
        #expect(actions(frame(2, [0xFF])) == [])
    }

    @Test("Text that cannot become UTF-8 is refused before its frame is whole")
    func failsFast() {
        var receiver = WebSocketReceiver()
        let found = receiver.receive(frame(1, [0xCE, 0xBA, 0xFF, 0x61]).dropLast())
        #expect(found == [.fail(.notUTF8)])
    }

    @Test("A close is answered with its code; what cannot be sent is refused")
    func closes() {
        #expect(actions(frame(8)) == [.closed(nil)])
        #expect(actions(frame(8, [0x03])) == broken)
        func code(_ code: Int, _ reason: [UInt8] = []) -> [WebSocketReceiver.Action] {
            actions(frame(8, [UInt8(code >> 8), UInt8(code & 0xFF)] + reason))
        }
        for good in [
            1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999,
            4000, 4999,
        ] {
            #expect(
                code(good) == [.closed(WebSocketClose(code: UInt16(good), reason: ""))], "\(good)")
        }
        for bad in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535] {
            #expect(code(bad) == broken, "\(bad)")
        }
        #expect(code(1000, Array("bye".utf8)) == [.closed(.done)])
        #expect(code(1000, [0xC2]) == [.fail(.notUTF8)])
        #expect(actions(frame(8, [0x03, 0xE8] + Array(repeating: 0x61, count: 124))) == broken)
    }

    @Test("Nothing counts after a close or a failure")
    func nothingAfterTheEnd() {
        #expect(actions(frame(8) + frame(9)) == [.closed(nil)])
        #expect(actions(frame(3) + frame(9)) == broken)
    }

    @Test("No bytes whatever bring it down")
    func survives() {
        var state: UInt64 = 0x9E37_79B9_7F4A_7C15
        for _ in 0..<3000 {
            var receiver = WebSocketReceiver()
            var bytes: [UInt8] = []
            for _ in 0..<64 {
                state ^= state << 13
                state ^= state >> 7
                state ^= state << 17
                bytes.append(UInt8(truncatingIfNeeded: state))
            }
            _ = receiver.receive(bytes)
        }
    }
}
