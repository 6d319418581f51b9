internal import TestSupport

/// Inputs made from valid ones by small changes, and now and then from nothing.
struct Mutations {
    private let seeds: [[UInt8]]
    private let words: [[UInt8]]
    private(set) var generator: SeededGenerator

    /// - Parameter words: what the format is made of, to be put in anywhere.
    init(_ seeds: [String], words: [String], seed: UInt64) {
        self.seeds = seeds.map { Array($0.utf8) }
        self.words = words.map { Array($0.utf8) }
        generator = SeededGenerator(seed: seed)
    }

    mutating func below(_ bound: Int) -> Int { generator.below(bound) }

    mutating func next() -> [UInt8] {
        if below(8) == 0 { return noise() }
        var bytes = seeds[below(seeds.count)]
        for _ in 0...below(4) { change(&bytes) }
        return bytes
    }

    /// The same as text: what is not UTF-8 arrives as U+FFFD, as it does from libfcgi.
    mutating func nextText() -> String { String(decoding: next(), as: UTF8.self) }

    private mutating func noise() -> [UInt8] {
        var bytes: [UInt8] = []
        for _ in 0..<below(24) {
            if below(2) == 0 {
                bytes.append(generator.byte())
            } else {
                bytes += words[below(words.count)]
            }
        }
        return bytes
    }

    private mutating func change(_ bytes: inout [UInt8]) {
        let index = below(bytes.count + 1)
        switch below(7) {
        case 0: bytes.insert(generator.byte(), at: index)
        case 1: bytes.insert(contentsOf: words[below(words.count)], at: index)
        case 2: if index < bytes.count { bytes[index] = generator.byte() }
        case 3: if index < bytes.count { bytes[index] ^= 1 << UInt8(below(8)) }
        case 4: bytes.removeSubrange(index..<min(bytes.count, index + below(4)))
        case 5: bytes.removeLast(below(bytes.count + 1))
        default:
            let other = seeds[below(seeds.count)]
            bytes.replaceSubrange(index..., with: other[below(other.count)...])
        }
    }

    /// `bytes` in pieces, split at up to three places.
    mutating func pieces(_ bytes: [UInt8]) -> [[UInt8]] {
        let splits = (0..<below(4)).map { _ in below(bytes.count + 1) }.sorted()
        return zip([0] + splits, splits + [bytes.count]).map { Array(bytes[$0..<$1]) }
    }
}
