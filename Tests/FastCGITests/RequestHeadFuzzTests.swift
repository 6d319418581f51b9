import FastCGI
import TestSupport
import Testing

@Suite(.ownThread) struct RequestHeadFuzzTests {
    @Test("Mutated heads never trap, and a prefix never says more than the whole")
    func survivesMutations() {
        var generator = SeededGenerator(seed: 0x46_43_47_49)
        let seeds = [
            Record.head(["A": "1", "B": "two"]), Record.head(["C": "3"], padding: 3),
            Record.head([:]) + Record.make(5, Array("body".utf8)) + Record.make(5, []),
        ]
        for _ in 0..<20_000 {
            var bytes = seeds[Int.random(in: 0..<seeds.count, using: &generator)]
            for _ in 0..<Int.random(in: 0...4, using: &generator) {
                let index = Int.random(in: 0..<bytes.count, using: &generator)
                switch Int.random(in: 0..<4, using: &generator) {
                case 0: bytes[index] = UInt8.random(in: 0...255, using: &generator)
                case 1: bytes[index] ^= 1 << UInt8.random(in: 0..<8, using: &generator)
                case 2: bytes.insert(UInt8.random(in: 0...255, using: &generator), at: index)
                default: if bytes.count > 1 { bytes.remove(at: index) }
                }
            }
            let whole = RequestHead(scanning: bytes)
            let length = Int.random(in: 0...bytes.count, using: &generator)
            let prefix = RequestHead(scanning: bytes[..<length])
            if case .complete(let end) = whole {
                #expect(end <= bytes.count)
                #expect(prefix == (length >= end ? whole : .incomplete))
            } else {
                #expect(prefix == whole || prefix == .incomplete)
            }
        }
    }

    @Test("Random bytes never trap, and hardly any are a head")
    func survivesNoise() {
        var generator = SeededGenerator(seed: 7)
        for _ in 0..<10_000 {
            let count = Int.random(in: 0..<64, using: &generator)
            let bytes = [1] + (0..<count).map { _ in UInt8.random(in: 0...255, using: &generator) }
            if case .complete(let end) = RequestHead(scanning: bytes) {
                #expect(end <= bytes.count)
            }
        }
    }
}
