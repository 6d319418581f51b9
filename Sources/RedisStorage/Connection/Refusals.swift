/// Counts refusals in a row: a Redis that answers in time and refuses the same command each time is
/// of no use. A success of another command changes nothing.
struct Refusals: Equatable {
    /// Refusals in a row that are too many.
    static let limit = 3

    /// The name under which reads of context windows are counted; scripts have names of their own.
    static let windows = "get"

    private var counts: [(group: String, count: Int)] = []

    /// Counts a refusal; true when it is one too many.
    mutating func refused(_ group: String, code: String) -> Bool {
        // It concerns a single key, which the next write replaces.
        if group == Self.windows && code == "WRONGTYPE" { return false }
        guard let index = counts.firstIndex(where: { $0.group == group }) else {
            counts.append((group, 1))
            return Self.limit <= 1
        }
        counts[index].count += 1
        return counts[index].count >= Self.limit
    }

    mutating func succeeded(_ group: String) {
        counts.removeAll { $0.group == group }
    }

    static func == (one: Refusals, other: Refusals) -> Bool {
        one.counts.elementsEqual(other.counts) { $0 == $1 }
    }
}

/// A command that has to succeed before a connection counts, once commands were refused: so a Redis
/// that goes on refusing is not announced as back.
struct Trial {
    /// Nil where the arguments are a whole command.
    var script: RedisScript?
    var keys: [String] = []
    let arguments: [[UInt8]]

    /// For a log line.
    var name: String {
        script?.name ?? arguments.first.map { String(decoding: $0, as: UTF8.self) } ?? ""
    }

    func command(_ sha: (RedisScript) -> [UInt8]?) -> [[UInt8]] {
        guard let script, let sha = sha(script) else { return arguments }
        return [Array("EVALSHA".utf8), sha, Array("\(keys.count)".utf8)]
            + keys.map { Array($0.utf8) } + arguments
    }
}
