/// Overwrites the upstream's key, and every run of 12 or more bytes of it, with as many asterisks.
/// Everything else is passed on verbatim. A run that crosses the border of pieces is found as well:
/// the last bytes that may be the beginning of a run are kept back. A value: a copy begins a new
/// text.
package struct KeyMask: Sendable {
    /// The length below which a key is a word and no secret: its mask would spoil ordinary text.
    package static let shortestKey = 16
    /// The length of the shortest part of the key that is masked.
    package static let runLength = 12

    private static let asterisk = UInt8(ascii: "*")

    private let patterns: Patterns?
    /// The last bytes of the text that may be the beginning of a run, unmasked.
    private var tail: [UInt8] = []
    /// The number of bytes at the end of the tail that were not returned yet.
    private var pending = 0

    /// - Parameter key: nil, or a word such as `lm-studio`, masks nothing.
    package init(key: Secret?) {
        let key = Array((key?.revealed ?? "").utf8)
        patterns = Self.isWord(key) ? nil : Patterns(key)
    }

    /// Whether a key is a word and no secret: short, or of small letters and dashes alone.
    package static func isWord(_ key: [UInt8]) -> Bool {
        key.count < shortestKey
            || key.allSatisfy { (0x61...0x7A).contains($0) || $0 == UInt8(ascii: "-") }
    }

    /// Takes the next bytes and returns those that can be passed on.
    /// - Parameter least: fewer bytes than this are not kept back, but returned as by `release`.
    package mutating func feed(_ bytes: [UInt8], keepingAtLeast least: Int = 1) -> [UInt8] {
        guard let patterns, !bytes.isEmpty else { return bytes }
        let seen = tail.isEmpty ? bytes : tail + bytes
        let runs = patterns.runs(in: seen)
        let masked = runs.last?.upperBound ?? 0
        // Masked bytes can be passed on, whatever follows.
        let begun = patterns.begun(atEndOf: seen)
        let first = tail.count - pending
        let keptFrom = begun < least ? seen.count : max(seen.count - begun, masked, first)
        let isPlain = runs.isEmpty && first == 0 && keptFrom == seen.count
        tail = Array(seen.suffix(begun))
        pending = seen.count - keptFrom
        if isPlain { return seen }
        var result = Array(seen[first..<keptFrom])
        for run in runs {
            for index in max(run.lowerBound, first)..<max(run.upperBound, first) {
                result[index - first] = Self.asterisk
            }
        }
        return result
    }

    /// Returns the bytes that were kept back when they cannot wait. The rest of a run that
    /// continues is masked, so that at most 11 bytes of it have passed.
    package mutating func release() -> [UInt8] {
        defer { pending = 0 }
        return Array(tail.suffix(pending))
    }

    /// Returns the bytes that were kept back. Called once after the last byte.
    package mutating func finish() -> [UInt8] {
        defer { tail = [] }
        return release()
    }

    /// Masks complete bytes.
    package func masked(_ bytes: [UInt8]) -> [UInt8] {
        guard patterns != nil, bytes.count >= Self.runLength else { return bytes }
        var mask = self
        let result = mask.feed(bytes)
        return mask.pending == 0 ? result : result + mask.finish()
    }

    /// Masks a complete text.
    package func masked(_ text: String) -> String {
        guard patterns != nil, text.utf8.count >= Self.runLength else { return text }
        return String(decoding: masked(Array(text.utf8)), as: UTF8.self)
    }
}

/// What is looked for. Every run holds, within its first bytes, four that begin at a multiple of `step`
/// in the text: only those are looked at, and only where they are in the key is a run looked for.
private final class Patterns: Sendable {
    private struct Run: Hashable {
        let first: UInt64
        let last: UInt32
    }

    private static let step = KeyMask.runLength - 3
    private static let filterBits: UInt32 = 14

    private let key: [UInt8]
    private let runs: Set<Run>
    /// A bit for each four bytes of the key, by their hash.
    private let filter: [UInt64]
    /// A bit for each two bytes of the key.
    private let pairs: [UInt64]
    /// Whether a run begins with a byte.
    private let isFirst: [Bool]

    /// - Parameter key: at least one run.
    init(_ key: [UInt8]) {
        self.key = key
        var runs: Set<Run> = []
        var filter = [UInt64](repeating: 0, count: 1 << Int(Self.filterBits) / 64)
        var pairs = [UInt64](repeating: 0, count: 1 << 16 / 64)
        var isFirst = [Bool](repeating: false, count: 256)
        key.withUnsafeBytes { key in
            for start in 0...(key.count - KeyMask.runLength) {
                runs.insert(Self.run(key, start))
                isFirst[Int(key[start])] = true
            }
            for start in 0...(key.count - 4) {
                let hash = Self.hash(key, start)
                filter[Int(hash >> 6)] |= 1 << UInt64(hash & 63)
            }
            for start in 0...(key.count - 2) {
                let pair = Self.pair(key[start], key[start + 1])
                pairs[pair >> 6] |= 1 << UInt64(pair & 63)
            }
        }
        self.runs = runs
        self.filter = filter
        self.pairs = pairs
        self.isFirst = isFirst
    }

    private static func run(_ bytes: UnsafeRawBufferPointer, _ start: Int) -> Run {
        Run(
            first: bytes.loadUnaligned(fromByteOffset: start, as: UInt64.self),
            last: bytes.loadUnaligned(fromByteOffset: start + 8, as: UInt32.self))
    }

    @inline(__always)
    private static func hash(_ bytes: UnsafeRawBufferPointer, _ start: Int) -> UInt32 {
        let four = bytes.loadUnaligned(fromByteOffset: start, as: UInt32.self)
        return (four &* 0x9E37_79B1) >> (32 - filterBits)
    }

    private static func pair(_ first: UInt8, _ second: UInt8) -> Int {
        Int(first) << 8 | Int(second)
    }

    /// The ranges of a text that are runs of the key, in order, apart from each other.
    func runs(in text: [UInt8]) -> [Range<Int>] {
        var found: [Range<Int>] = []
        let last = text.count - KeyMask.runLength
        guard last >= 0 else { return found }
        text.withUnsafeBytes { text in
            filter.withUnsafeBufferPointer { filter in
                func mayBeInKey(_ start: Int) -> Bool {
                    let hash = Self.hash(text, start)
                    return filter[Int(hash >> 6)] >> UInt64(hash & 63) & 1 == 1
                }
                var place = 0
                while place <= text.count - 4 {
                    if mayBeInKey(place) {
                        var start = max(0, place - Self.step + 1)
                        while start <= min(place, last) {
                            if mayBeInKey(start), runs.contains(Self.run(text, start)) {
                                add(start, to: &found)
                            }
                            start += 1
                        }
                    }
                    place += Self.step
                }
            }
        }
        return found
    }

    private func add(_ start: Int, to found: inout [Range<Int>]) {
        let end = start + KeyMask.runLength
        if let previous = found.last, previous.upperBound >= start {
            found[found.count - 1] = previous.lowerBound..<end
        } else {
            found.append(start..<end)
        }
    }

    /// How many of the last bytes of a text may be the beginning of a run.
    func begun(atEndOf text: [UInt8]) -> Int {
        let end = text.count
        guard end > 0 else { return 0 }
        var longest = 1
        while longest < min(end, KeyMask.runLength - 1) {
            let pair = Self.pair(text[end - longest - 1], text[end - longest])
            guard pairs[pair >> 6] >> UInt64(pair & 63) & 1 == 1 else { break }
            longest += 1
        }
        let starts = 0...(key.count - KeyMask.runLength)
        for count in stride(from: longest, to: 1, by: -1) where isFirst[Int(text[end - count])] {
            let rest = text[(end - count)...]
            if starts.contains(where: { key[$0..<($0 + count)].elementsEqual(rest) }) {
                return count
            }
        }
        return isFirst[Int(text[end - 1])] ? 1 : 0
    }
}
