import Formats
import ProxyGPT
import Testing

@Suite struct ContextWindowEncodingTests {
    private func window(_ count: Int, limit: Int = 5, budget: Int = 100_000) -> ContextWindow {
        let now = Timestamp(milliseconds: 0)
        let messages = (0..<count).reversed().map { index in
            Message(
                id: Message.ID("m"), chatID: Chat.ID("c"), userID: User.ID("u"), groupID: nil,
                seq: Int64(index * 3 + 1), prompt: "prompt \(index) é\u{0}",
                reply: String(repeating: "words ", count: index), model: "m", state: .done,
                createdAt: now, updatedAt: now)
        }
        return ContextWindow(version: 9, newestFirst: messages, limit: limit, budget: budget)
    }

    @Test(arguments: [0, 1, 4, 200])
    func `a window is decoded as it was encoded`(count: Int) throws {
        for limit in [1, 1000] {
            let window = window(count, limit: limit)
            let read = try #require(ContextWindow(encoded: window.encoded))
            #expect(read == window)
        }
    }

    @Test func `a window that was read grows as the one that was written`() throws {
        let now = Timestamp(milliseconds: 0)
        let message = Message(
            id: Message.ID("m"), chatID: Chat.ID("c"), userID: User.ID("u"), groupID: nil,
            seq: 100, prompt: "p", reply: "r", model: "m", state: .done, createdAt: now,
            updatedAt: now)
        let window = window(5, budget: 120)
        let read = try #require(ContextWindow(encoded: window.encoded))
        let grown = try #require(read.adding(message, version: 10))
        #expect(grown == window.adding(message, version: 10))
    }

    @Test func `a truncated or longer encoding is no window`() {
        let bytes = window(4).encoded
        for length in 0..<bytes.count { #expect(ContextWindow(encoded: bytes[..<length]) == nil) }
        #expect(ContextWindow(encoded: bytes + [0]) == nil)
    }

    /// A window of one message, with these numbers in it.
    private func bytes(version: UInt64, budget: UInt64, seq: UInt64, tokens: UInt64) -> [UInt8] {
        var writer = ByteWriter()
        writer.bytes = [1]
        writer.number(version)
        writer.number(budget)
        writer.bytes.append(0)
        writer.number(1)
        writer.number(seq)
        writer.number(tokens)
        writer.text("p")
        writer.text("r")
        return writer.bytes
    }

    @Test
    func `too large numbers are refused, and the largest valid ones do not trap`()
        throws
    {
        let largest: UInt64 = 1 << 53
        let fine = bytes(version: largest, budget: 1 << 40, seq: largest, tokens: 1 << 40)
        let window = try #require(ContextWindow(encoded: fine))
        let now = Timestamp(milliseconds: 0)
        let message = Message(
            id: Message.ID("m"), chatID: Chat.ID("c"), userID: User.ID("u"), groupID: nil,
            seq: .max, prompt: "p", reply: "r", model: "m", state: .done, createdAt: now,
            updatedAt: now)
        for version in [0, 9, Int64(largest), Int64(largest) + 1, .max, .min] {
            let grown = window.adding(message, version: version)
            #expect((grown != nil) == (version == Int64(largest) + 1))
        }
        for number in [largest + 1, UInt64(Int64.max), UInt64(Int64.max) + 1, .max] {
            let refused = [
                bytes(version: number, budget: 9, seq: 1, tokens: 1),
                bytes(version: 1, budget: number, seq: 1, tokens: 1),
                bytes(version: 1, budget: 9, seq: number, tokens: 1),
                bytes(version: 1, budget: 9, seq: 1, tokens: number),
            ]
            for bytes in refused { #expect(ContextWindow(encoded: bytes) == nil) }
        }
        // As the store might have it, if its own numbers were changed.
        let last = ContextWindow(version: .max, newestFirst: [], limit: 1, budget: 9)
        #expect(last.adding(message, version: 1) == nil)
    }

    @Test func `another format is no window`() {
        var bytes = window(4).encoded
        bytes[0] += 1
        #expect(ContextWindow(encoded: bytes) == nil)
    }

    @Test func `no bytes trap, and a decoded window can be encoded again`() {
        let bytes = window(4).encoded
        var generator = Mixer(state: 1)
        for _ in 0..<20_000 {
            var changed = bytes
            for _ in 0...Int(generator.next() % 4) {
                changed[Int(generator.next() % UInt64(changed.count))] = UInt8(
                    truncatingIfNeeded: generator.next())
            }
            guard let read = ContextWindow(encoded: changed) else { continue }
            #expect(ContextWindow(encoded: read.encoded) == read)
            _ = read.turns(10)
        }
        for length in 0..<2000 {
            let noise = [1] + (0..<length).map { _ in UInt8(truncatingIfNeeded: generator.next()) }
            _ = ContextWindow(encoded: noise)
        }
    }

    /// The same numbers in every run (splitmix64).
    private struct Mixer {
        var state: UInt64

        mutating func next() -> UInt64 {
            state &+= 0x9E37_79B9_7F4A_7C15
            var mixed = (state ^ (state >> 30)) &* 0xBF58_476D_1CE4_E5B9
            mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
            return mixed ^ (mixed >> 31)
        }
    }
}
