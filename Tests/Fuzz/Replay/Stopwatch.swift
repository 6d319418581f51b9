internal import FuzzEntries

/// Measures the CPU time of turns: over the inputs of a corpus, and long ones that are made of them.
struct Stopwatch {
    /// The most CPU time that a turn may take, in nanoseconds.
    static let limit: UInt64 = 5_000_000

    /// What is repeated until an input is as long as it may be: what costs more than its length in
    /// some parser, normalization or copy.
    static let runs: [[UInt8]] =
        [
            "\u{301}\u{323}", "\u{323}\u{301}", "a\u{301}", "\u{1100}\u{1161}", "\u{345}", "🦀", "İ",
            "a=&", "a=1&", "&", "a", "%25", "%", "+", "[", "{\"a\":", "[],", "\"a\",", "1,",
            "\\u0041",
            "\\", "\"", ",", ";", " ", "\t", "\n", "\r\n", ":", "=", "data:\n", "data: {}\n\n", "/",
            "/a", ".", "a: b\n", " b\n", "sess=", "sess=;", "a=b;", "sk-canary-", "aaaaaaaaaaaaaaa",
            "*1\r\n", ":1\r\n", "\u{1}e",
        ].map { Array($0.utf8) } + [[0], [0xFF], [0xC3], [0x80], [1, 4, 0, 1, 0, 0, 0, 0]]

    /// Returns the exit code.
    func measure(_ entry: Entry, folders: [String]) -> Int32 {
        guard entry.isTimed else {
            print("\(entry.name): not timed, since operators write it")
            return 0
        }
        var (count, slow) = (0, 0)
        var worst: (time: UInt64, label: String) = (0, "nothing")
        func take(_ bytes: [UInt8], _ label: @autoclosure () -> String) {
            let bytes = bytes.count > entry.limit ? Array(bytes.prefix(entry.limit)) : bytes
            let time = Self.time(entry, bytes)
            count += 1
            if time > worst.time { worst = (time, label()) }
            if time > Self.limit { slow += 1 }
        }
        for path in folders.flatMap(InputFile.all) { take(InputFile.read(path), path) }
        seeds: for (number, seed) in entry.seeds.enumerated() {
            for run in Self.runs {
                // Enough is known of this parser.
                if worst.time > 20 * Self.limit || slow > 100 { break seeds }
                for place in Set([0, seed.count / 2, max(0, seed.count - 2), seed.count]).sorted() {
                    // What costs the square of its length is too slow long before it is whole.
                    for length in [entry.limit / 64, entry.limit / 8, entry.limit] {
                        let found = slow
                        take(
                            Self.stretched(seed, by: run, at: place, to: length),
                            "seed \(number) with \(run.prefix(16)) at \(place), \(length) bytes")
                        if slow > found { break }
                    }
                }
            }
        }
        print(
            "\(entry.name): \(count) inputs, \(slow) too slow, the slowest",
            "\(Self.milliseconds(worst.time)) ms: \(worst.label)")
        return slow == 0 ? 0 : 1
    }

    private static func stretched(
        _ seed: [UInt8], by run: [UInt8], at place: Int, to length: Int
    ) -> [UInt8] {
        var bytes = Array(seed[..<place])
        bytes.reserveCapacity(length)
        let room = max(0, length - seed.count)
        for _ in 0..<room / run.count { bytes += run }
        return bytes + seed[place...]
    }

    /// The longest turn of one reading; of one that seems slow the least of five, since the first
    /// touches memory that nobody has touched.
    private static func time(_ entry: Entry, _ bytes: [UInt8]) -> UInt64 {
        var best = UInt64.max
        for _ in 0..<5 {
            best = min(best, Turns.longest { entry.run(bytes) })
            if best <= limit || best > 4 * limit { break }
        }
        return best
    }

    private static func milliseconds(_ nanoseconds: UInt64) -> String {
        "\(nanoseconds / 1_000_000).\(nanoseconds / 100_000 % 10)"
    }
}
