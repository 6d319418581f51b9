internal import Synchronization

/// Values in columns that this release does not know, each of which is to be logged once.
///
/// Rows are decoded where there is no logger, so the values wait here for the next renewal of the
/// lease.
final class UnknownWords: Sendable {
    /// Of the process, as its log is.
    static let shared = UnknownWords()

    /// Further ones are passed over.
    private static let limit = 16
    private static let lengthLimit = 64

    private struct State {
        var known: Set<[UInt8]> = []
        var fresh: [String] = []
    }

    private let state = Mutex(State())

    func add(_ word: String, in column: String) {
        let beginning = String(decoding: word.utf8.prefix(Self.lengthLimit), as: UTF8.self)
        let entry = "\(column) \(beginning)"
        state.withLock { state in
            guard state.known.count < Self.limit, state.known.insert(Array(entry.utf8)).inserted
            else { return }
            state.fresh.append(entry)
        }
    }

    /// The values that came since the last call, each as `COLUMN WORD`.
    func take() -> [String] {
        state.withLock { state in
            defer { state.fresh = [] }
            return state.fresh
        }
    }
}
