internal import ProxyGPT
internal import TestSupport
internal import Testing

@testable internal import RedisStorage

/// The rules that need no Redis: values that get results.
@Suite struct BreakerTests {
    @Test func `it is open at the start and closes with the first try that succeeds`() {
        var breaker = Breaker()
        #expect(!breaker.isClosed)
        breaker.close()
        #expect(breaker.isClosed)
    }

    @Test func `three failures in a row open it, and a success between starts the count anew`() {
        var breaker = Breaker()
        breaker.close()
        #expect((0..<2).map { _ in breaker.failed() } == [false, false])
        breaker.succeeded()
        #expect((0..<3).map { _ in breaker.failed() } == [false, false, true])
        #expect(!breaker.isClosed)
        let opensAgain = breaker.failed()
        #expect(!opensAgain)
    }

    @Test func `the end of the connection opens it at once`() {
        var breaker = Breaker()
        breaker.close()
        breaker.disconnected()
        #expect(!breaker.isClosed)
    }

    @Test func `pauses grow up to a bound, are spread, and begin anew after a success`() {
        var shortest = Breaker()
        var longest = Breaker()
        let low = (0..<8).map { _ in shortest.nextPause { $0.lowerBound } }
        let pauses: [Int64] = [100, 200, 400, 800, 1600, 2000, 2000, 2000]
        #expect(low == pauses.map { $0 / 2 })
        for pause in pauses {
            #expect(longest.nextPause { $0.upperBound } == pause)
        }
        longest.close()
        #expect(longest.nextPause(jitter: \.lowerBound) == 1000, "a try alone is no success")
        longest.succeeded()
        #expect(longest.nextPause { $0.upperBound } == 100)
        for _ in 0..<100 { #expect(longest.nextPause(jitter: ids.number) <= 2000) }
    }
}

@Suite struct LivePositionTests {
    private func group(_ epoch: String, _ first: Int64, _ count: Int = 1) throws -> FrameBatch {
        let bytes = (0..<count).flatMap { end(of: "m\($0)").encoded }
        return try #require(FrameBatch(Array("\(epoch)-\(first)\n".utf8) + bytes))
    }

    @Test func `batches that follow one another are delivered`() throws {
        var position = LivePosition(FrameID(epoch: "e", sequence: 4))
        #expect(position.take(try group("e", 5, 3)) == .deliver)
        #expect(position.take(try group("e", 8)) == .deliver)
        #expect(position.id == FrameID(epoch: "e", sequence: 8))
    }

    @Test func `a gap is filled, and a batch that came by both ways is delivered once`() throws {
        var position = LivePosition(FrameID(epoch: "e", sequence: 4))
        #expect(position.take(try group("e", 7, 2)) == .fill)
        #expect(position.join(try group("e", 5, 2)) == .deliver)
        #expect(position.join(try group("e", 7, 2)) == .deliver)
        #expect(position.join(try group("e", 9)) == .deliver)
        #expect(position.take(try group("e", 7, 2)) == .pass)
        #expect(position.take(try group("e", 9)) == .pass)
        #expect(position.take(try group("e", 10)) == .deliver)
    }

    @Test func `another epoch is a new beginning, and stragglers of the old one are not`() throws {
        var position = LivePosition(FrameID(epoch: "e", sequence: 4))
        #expect(position.take(try group("f", 1, 2)) == .startOver)
        #expect(position.take(try group("e", 5)) == .pass)
        #expect(position.take(try group("f", 3)) == .deliver)
    }

    @Test func `a number that comes a second time means that the counter went back`() throws {
        var position = LivePosition(FrameID(epoch: "e", sequence: 4))
        #expect(position.take(try group("e", 5)) == .deliver)
        #expect(position.take(try group("e", 6)) == .deliver)
        #expect(position.take(try group("e", 5)) == .renew)
    }

    @Test func `the largest numbers of all do not trap`() throws {
        let largest = FrameID.largestSequence
        var position = LivePosition(FrameID(epoch: "e", sequence: largest))
        #expect(position.take(try group("e", 5)) == .pass)
        #expect(position.take(try group("e", largest)) == .pass)
        position = LivePosition(FrameID(epoch: "e", sequence: 1))
        #expect(position.take(try group("e", largest)) == .fill)
        #expect(position.join(try group("e", largest)) == .fill)
        #expect(FrameBatch(Array("e-\(Int64.max)\n".utf8) + end(of: "m").encoded) == nil)
    }

    @Test func `a batch that was read and does not join is a gap`() throws {
        var position = LivePosition(FrameID(epoch: "e", sequence: 4))
        #expect(position.join(try group("e", 6)) == .fill)
        #expect(position.join(try group("f", 5)) == .fill)
        #expect(position.id.sequence == 4)
    }
}

@Suite struct FrameEncodingTests {
    private let frames = [
        delta("", of: "m", prompt: "prompt"), delta("Hé\u{0}llo\n", of: "m"),
        delta("x", of: "m", prompt: ""), end(of: "m", in: "other"), delta("", of: ""),
    ]

    /// A frame of a newer release.
    private func unknown(_ content: String) -> [UInt8] {
        let sealed = testSeal.closed(Array(content.utf8))
        return [UInt8(sealed.count)] + sealed
    }

    @Test func `a batch is read as it was written`() throws {
        let bytes = Array("epoch-41\n".utf8) + frames.flatMap(\.encoded)
        let group = try #require(FrameBatch(bytes))
        #expect(group.frames.map(\.frame) == frames)
        #expect(group.frames.map(\.id.sequence) == Array(41...45))
        #expect(group.last == 45)
    }

    @Test func `a frame of an unknown kind takes its number and nothing more`() throws {
        let bytes = Array("e-1\n".utf8) + unknown("zebra") + end(of: "m").encoded
        let group = try #require(FrameBatch(bytes))
        #expect(group.count == 2)
        #expect(group.frames.map(\.id.sequence) == [2])
    }

    @Test func `a batch that is cut or changed anywhere is none`() {
        let bytes = Array("epoch-41\n".utf8) + frames.flatMap(\.encoded)
        for length in 0..<bytes.count {
            let group = FrameBatch(Array(bytes[..<length]))
            #expect(group.map { $0.count < frames.count } ?? true)
        }
        for index in bytes.indices {
            for change in [UInt8(1), 0x80, 0xFF] {
                var changed = bytes
                changed[index] ^= change
                // Whatever it is read as, nothing traps.
                _ = FrameBatch(changed)
            }
        }
        for text in ["", "\n", "e-0\n", "e-9223372036854775807\n", "e\n", "-1\n", "é-1\n"] {
            #expect(FrameBatch(Array(text.utf8) + end(of: "m").encoded) == nil)
            #expect(FrameBatch(Array(text.utf8)) == nil)
        }
        // As many as may be, of an unknown kind, and one more.
        let limit = FrameBatch.largestCount
        let strange = unknown("z")
        func group(_ count: Int) -> [UInt8] {
            Array("e-1\n".utf8) + (0..<count).flatMap { _ in strange }
        }
        #expect(FrameBatch(group(limit))?.count == limit)
        #expect(FrameBatch(group(limit + 1)) == nil)
        let last = Array("e-\(FrameID.largestSequence)\n".utf8)
        #expect(FrameBatch(last + end(of: "m").encoded) != nil)
        #expect(FrameBatch(last + end(of: "m").encoded + end(of: "n").encoded) == nil)
    }
}

@Suite struct DecodedNumberTests {
    private static let extremes: [(text: String, isSequence: Bool)] = [
        ("0", true), ("9007199254740992", true), ("9007199254740993", false),
        ("9223372036854775807", false), ("-9223372036854775808", false), ("-1", false),
        ("99999999999999999999", false), ("0x10", false), ("1e3", false), ("", false),
        ("nan", false), ("1.5", false),
    ]

    @Test(arguments: extremes)
    func `a number is valid for a frame or refused`(text: String, isSequence: Bool) {
        let bytes = RedisReply.bytes(Array(text.utf8))
        #expect((bytes.sequence != nil) == isSequence)
        #expect((RedisReply.bytes(Array("\(text)-0".utf8)).entryNumber != nil) == isSequence)
        #expect((LogState(.list([.bytes(Array("e".utf8)), bytes])) != nil) == isSequence)
        if let number = Int64(text) {
            #expect((RedisReply.integer(number).sequence != nil) == isSequence)
        }
    }

    @Test(arguments: ["", "-", "1", "1 -0", String(repeating: "1", count: 100) + "-0"])
    func `an invalid id of an entry is refused`(text: String) {
        #expect(RedisReply.bytes(Array(text.utf8)).entryNumber == nil)
        #expect(RedisReply.nothing.entryNumber == nil)
    }

    @Test(arguments: ["", "e\n", "e-1", "é", String(repeating: "e", count: 65)])
    func `an epoch that clients could not use is refused`(epoch: String) {
        #expect(LogState(.list([.bytes(Array(epoch.utf8)), .integer(1)])) == nil)
    }
}
