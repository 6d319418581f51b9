// The statements that one connection has prepared, each under a name of its own.
//
// Batches follow one another without waiting, and one that fails undoes none of the others. So no
// batch relies on a statement that another batch has only sent: until the server has confirmed a
// statement, each batch prepares it anew.

/// Knows which statements the server of a connection has prepared, and which it may deallocate.
struct PreparedStatements {
    struct Key: Hashable {
        let text: String
        let types: [UInt32]
    }

    /// A statement as a batch uses it.
    struct Use {
        let name: String
        let columns: PostgresColumns
        let mustBePrepared: Bool
        /// Names that the server is to let go before.
        var leftover: [String] = []
    }

    private struct Known {
        let name: String
        let columns: PostgresColumns
        /// The batch that prepares it; nil once the server has confirmed it.
        var batch: UInt64?
        var lastUse: UInt64
    }

    /// How many statements are kept prepared.
    static let limit = 256
    /// How many are let go at once.
    private static let batchSize = 8

    private var known: [Key: Known] = [:]
    private var uses: UInt64 = 0
    /// Statements that the server has prepared and no caller uses any more.
    private var leftover: [String] = []

    /// Finds a statement, or makes room and a name for it.
    mutating func use(_ key: Key, in batch: UInt64) -> Use {
        uses += 1
        if let found = known[key], found.batch == nil || found.batch == batch {
            known[key]?.lastUse = uses
            return Use(name: found.name, columns: found.columns, mustBePrepared: false)
        }
        let leftover = makeRoom()
        let new = Known(
            name: "s\(uses)", columns: known[key]?.columns ?? PostgresColumns(), batch: batch,
            lastUse: uses)
        known[key] = new
        return Use(
            name: new.name, columns: new.columns, mustBePrepared: true, leftover: leftover)
    }

    private mutating func makeRoom() -> [String] {
        guard known.count + leftover.count >= Self.limit else { return [] }
        var names = Array(leftover.prefix(Self.batchSize))
        leftover.removeFirst(names.count)
        // A statement that is not confirmed may not exist, and cannot be deallocated.
        let oldest = known.filter { $0.value.batch == nil }
            .min { $0.value.lastUse < $1.value.lastUse }
        if names.isEmpty, let oldest {
            known[oldest.key] = nil
            names.append(oldest.value.name)
        }
        return names
    }

    /// The server has prepared it.
    mutating func confirm(_ key: Key, _ name: String) {
        if known[key]?.name == name {
            known[key]?.batch = nil
        } else {
            leftover.append(name)
        }
    }

    /// The server has not.
    mutating func fail(_ key: Key, _ name: String) {
        if known[key]?.name == name { known[key] = nil }
    }

    /// The server was to let it go, and has not.
    mutating func keep(_ name: String) {
        leftover.append(name)
    }
}
