internal import TestSupport

/// One parser of bytes from outside, with what a fuzzer needs to know of it.
package struct Entry: Sendable {
    package let name: String
    /// The most bytes that one call of the parser can get.
    package let limit: Int
    /// Whether its time counts: no event loop reads what an operator writes.
    package let isTimed: Bool
    /// Valid inputs and near misses, from which all others are made.
    package let seeds: [[UInt8]]
    /// Reads the bytes and traps where a promise of the parser is broken.
    package let run: @Sendable ([UInt8]) -> Void

    init(
        _ name: String, limit: Int = 1024 * 1024, isTimed: Bool = true, seeds: [String],
        _ run: @escaping @Sendable ([UInt8]) -> Void
    ) {
        self.init(name, limit: limit, isTimed: isTimed, bytes: seeds.map { Array($0.utf8) }, run)
    }

    init(
        _ name: String, limit: Int = 1024 * 1024, isTimed: Bool = true, bytes seeds: [[UInt8]],
        _ run: @escaping @Sendable ([UInt8]) -> Void
    ) {
        self.name = name
        self.limit = limit
        self.isTimed = isTimed
        self.seeds = seeds
        self.run = run
    }

    /// The web server takes at most so much of a request's line and headers.
    static let headLimit = 64 * 1024

    package static let all: [Entry] =
        Entry.parameters + Entry.heads + Entry.texts + Entry.json + Entry.upstream + Entry.sockets
        + Entry.stores

    /// The entry of that name.
    package static func named(_ name: String) -> Entry? { all.first { $0.name == name } }
}

/// Traps with a sentence. A broken promise is as much a finding as a trap of the parser's own.
func require(_ condition: Bool, _ sentence: @autoclosure () -> String) {
    precondition(condition, sentence())
}

/// What was measured of turns: code that runs on an event loop without giving the turn back.
///
/// All entries run on one thread.
package enum Turns {
    private nonisolated(unsafe) static var longest: UInt64?

    /// Runs `body` as an event loop would, in one turn.
    static func turn<T, E: Error>(_ body: () throws(E) -> T) throws(E) -> T {
        let began = threadNanoseconds()
        defer { longest = max(longest ?? 0, threadNanoseconds() - began) }
        return try body()
    }

    /// The processor time of the longest turn in `body`, in nanoseconds; of the whole where it has
    /// no turns.
    package static func longest(in body: () -> Void) -> UInt64 {
        longest = nil
        let began = threadNanoseconds()
        body()
        let whole = threadNanoseconds() - began
        return longest ?? whole
    }
}

/// The pieces in which a socket's bytes come: at most so many at a time.
func slices(_ bytes: [UInt8], of size: Int = 64 * 1024) -> [[UInt8]] {
    stride(from: 0, to: bytes.count, by: size).map {
        Array(bytes[$0..<min($0 + size, bytes.count)])
    }
}

func text(_ bytes: some Collection<UInt8>) -> String { String(decoding: bytes, as: UTF8.self) }

/// `bytes` in two to four pieces; where they are cut depends on the bytes alone.
func pieces(_ bytes: [UInt8]) -> [[UInt8]] {
    var seed = UInt64(bytes.count)
    for byte in bytes.prefix(64) { seed = seed &* 31 &+ UInt64(byte) }
    var generator = SeededGenerator(seed: seed)
    let cuts = (0..<1 + generator.below(3)).map { _ in generator.below(bytes.count + 1) }.sorted()
    return zip([0] + cuts, cuts + [bytes.count]).map { Array(bytes[$0..<$1]) }
}

/// The lines of `bytes` without their ends.
func lines(_ bytes: [UInt8]) -> [ArraySlice<UInt8>] {
    bytes.split(separator: 0x0A, omittingEmptySubsequences: false)
}
