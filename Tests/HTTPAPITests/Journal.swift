import Synchronization

/// What happened in which order, written by all fakes of one test.
final class Journal: Sendable {
    private struct State {
        var entries: [String] = []
        var waiters: [(entry: String, continuation: UnsafeContinuation<Void, Never>)] = []
    }

    private let state = Mutex(State())

    var entries: [String] { state.withLock(\.entries) }

    func note(_ entry: String) {
        let resumed = state.withLock { state in
            state.entries.append(entry)
            let resumed = state.waiters.filter { $0.entry == entry }
            state.waiters.removeAll { $0.entry == entry }
            return resumed
        }
        for waiter in resumed { waiter.continuation.resume() }
    }

    /// Returns once `entry` has been noted.
    func wait(for entry: String) async {
        await withUnsafeContinuation { continuation in
            let isThere = state.withLock { state in
                if state.entries.contains(entry) { return true }
                state.waiters.append((entry, continuation))
                return false
            }
            if isThere { continuation.resume() }
        }
    }

    func clear() {
        state.withLock { $0.entries = [] }
    }
}
